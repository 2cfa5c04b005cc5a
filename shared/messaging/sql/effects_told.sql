-- The lists lead to the rows by the key, the triples say which of them.
-- $1 tenants, $2 kinds, $3 keys, $4 told at (null: not yet), $5 tell again at
update effects set told_at = $4::timestamptz, due_at = coalesce($5::timestamptz, due_at)
where tenant = any($1::uuid[]) and kind = any($2::text[]) and key = any($3::text[])
  and (tenant, kind, key) in (select * from unnest($1::uuid[], $2::text[], $3::text[]))
