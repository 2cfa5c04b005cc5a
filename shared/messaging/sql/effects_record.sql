-- $1 tenant, $2 kind, $3 key, $4 fence, $5 done | failed | unknown | queued, $6 outcome, $7 again at, $8 now
update effects set state = $5, outcome = $6::text::json, due_at = coalesce($7::timestamptz, $8::timestamptz), owner = null, until = null,
       earlier = case when $5 = 'queued' then 'failed' else earlier end
where tenant = $1 and kind = $2 and key = $3 and fence = $4 and state = 'sending' returning key
