-- A claim whose owner died or stopped. $1 kind, $2 now, $3 'queued' (again; after $4 times in a row it is given up) or 'unknown' (hold),
-- $5 outcome of the last time, $6 'failed' or 'unknown' (given up)
with e as (select tenant, kind, key, coalesce((outcome->>'unanswered')::int, 0) + 1 as times from effects
           where kind = $1 and state = 'sending' and until < $2::timestamptz for update skip locked)
update effects u set state = case when $3::text = 'queued' and e.times >= $4::int then $6::text else $3::text end,
       outcome = (case when $3::text = 'queued' and e.times >= $4::int then $5::text
                       else '{"error": "the sender stopped between doing and recording"}' end::jsonb
                  || case when $3::text = 'queued' then jsonb_build_object('unanswered', e.times) else '{}'::jsonb end)::json,
       earlier = 'unknown', owner = null, until = null, due_at = $2::timestamptz
from e where (u.tenant, u.kind, u.key) = (e.tenant, e.kind, e.key) returning u.key
