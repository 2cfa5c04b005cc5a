-- A claim whose owner died or stopped. $1 kind, $2 now, $3 'queued' (again) or 'unknown' (hold)
update effects set state = $3, earlier = 'unknown', owner = null, until = null, due_at = $2::timestamptz,
       outcome = case when $3 = 'unknown' then '{"error": "the sender stopped between doing and recording"}'::json end
where kind = $1 and state = 'sending' and until < $2::timestamptz returning key
