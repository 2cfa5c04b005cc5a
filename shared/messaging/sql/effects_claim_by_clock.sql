-- As effects_claim, for a kind whose effects wait for a moment of the tenant's: of a rehearsal whose clock was moved, where that
-- one stands; what failed there is tried again by the service's clock. $1 owner, $2 now, $3 lease, $4 kind, $5 most
with near as (
    (select q.tenant, q.key, q.due_at from effects q
     where q.kind = $4 and q.state = 'queued' and q.due_at <= $2::timestamptz
       and not exists (select 1 from rehearsal_clocks_v1 c where c.tenant = q.tenant)
     order by q.due_at limit $5)
    union all
    (select q.tenant, q.key, q.due_at from rehearsal_clocks_v1 c join effects q on q.tenant = c.tenant
     where q.kind = $4 and q.state = 'queued' and q.due_at <= case when q.attempt = 0 then c.stands_at else $2::timestamptz end
     order by q.due_at limit $5)
), due as (
    select q.tenant, q.kind, q.key, d.rehearsal
    from near n join effects q on q.tenant = n.tenant and q.kind = $4 and q.key = n.key and q.state = 'queued'
                join tenants_v1 d on d.tenant = q.tenant and not d.suspended
    order by n.due_at limit $5 for update of q skip locked
)
update effects e set state = 'sending', owner = $1, fence = e.fence + 1, until = $2::timestamptz + $3::interval, attempt = e.attempt + 1
from due where (e.tenant, e.kind, e.key) = (due.tenant, due.kind, due.key)
returning e.tenant, e.kind, e.key, e.stream, e.request, e.attempt, e.fence, e.earlier, due.rehearsal
