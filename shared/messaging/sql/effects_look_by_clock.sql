-- As effects_look, for a kind whose effects wait for a moment of the tenant's; `rehearsed`: a rehearsal's clock has reached one. $1 kind
select (select q.due_at from effects q where q.kind = $1 and q.state = 'queued'
           and not exists (select 1 from rehearsal_clocks_v1 c where c.tenant = q.tenant) order by q.due_at limit 1) as queued,
       (select min(until)  from effects where kind = $1 and state = 'sending') as sending,
       (select min(due_at) from effects where kind = $1 and told_at is null and state in ('done', 'failed', 'unknown')) as untold,
       exists (select 1 from rehearsal_clocks_v1 c join effects q on q.tenant = c.tenant
               where q.kind = $1 and q.state = 'queued'
                 and q.due_at <= case when q.attempt = 0 then c.stands_at else clock_timestamp() end) as rehearsed,
       clock_timestamp() as now
