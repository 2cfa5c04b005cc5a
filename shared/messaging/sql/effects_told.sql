-- $1 tenants, $2 kinds, $3 keys, $4 told at (null: not yet), $5 tell again at
update effects e set told_at = $4::timestamptz, due_at = coalesce($5::timestamptz, e.due_at)
from unnest($1::uuid[], $2::text[], $3::text[]) as t(tenant, kind, key)
where (e.tenant, e.kind, e.key) = (t.tenant, t.kind, t.key)
