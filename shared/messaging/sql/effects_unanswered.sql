-- Nobody knows whether it happened, and it is safe to repeat: again at $6, unless it went so $7 times in a row: then it is given up.
-- $1 tenant, $2 kind, $3 key, $4 fence, $5 outcome, $6 again at, $7 most, $8 now, $9 outcome of the last time, $10 'failed' or 'unknown' (given up)
with e as (select tenant, kind, key, coalesce((outcome->>'unanswered')::int, 0) + 1 as times from effects
           where tenant = $1 and kind = $2 and key = $3 and fence = $4 and state = 'sending' for update)
update effects u set state = case when e.times < $7::int then 'queued' else $10::text end,
       outcome = (case when e.times < $7::int then $5::text else $9::text end::jsonb || jsonb_build_object('unanswered', e.times))::json,
       due_at = case when e.times < $7::int then $6::timestamptz else $8::timestamptz end,
       earlier = 'unknown', owner = null, until = null
from e where (u.tenant, u.kind, u.key) = (e.tenant, e.kind, e.key) returning u.state
