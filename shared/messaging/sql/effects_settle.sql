-- A person found out what became of effects in doubt, and said it to their owner: nothing more is to be told.
-- $1 tenants, $2 kinds, $3 keys, $4 states, $5 now
update effects e set state = t.state, told_at = coalesce(e.told_at, $5::timestamptz), owner = null, until = null
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as t(tenant, kind, key, state)
where (e.tenant, e.kind, e.key) = (t.tenant, t.kind, t.key) and e.state = 'unknown'
