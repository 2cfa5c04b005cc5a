-- When there is something to do for a kind: the next one is due, the next claim ends, the next outcome is to be told. $1 kind
select (select min(due_at) from effects where kind = $1 and state = 'queued') as queued,
       (select min(until)  from effects where kind = $1 and state = 'sending') as sending,
       (select min(due_at) from effects where kind = $1 and told_at is null and state in ('done', 'failed', 'unknown')) as untold,
       clock_timestamp() as now
