-- $1 owner, $2 now, $3 lease, $4 kind, $5 most; an effect of an unknown or suspended tenant waits where it is
with due as (select q.tenant, q.kind, q.key, d.rehearsal from effects q join tenants_v1 d on d.tenant = q.tenant and not d.suspended
             where q.kind = $4 and q.state = 'queued' and q.due_at <= $2::timestamptz
             order by q.due_at limit $5 for update of q skip locked)
update effects e set state = 'sending', owner = $1, fence = e.fence + 1, until = $2::timestamptz + $3::interval, attempt = e.attempt + 1
from due where (e.tenant, e.kind, e.key) = (due.tenant, due.kind, due.key)
returning e.tenant, e.kind, e.key, e.stream, e.request, e.attempt, e.fence, e.earlier, due.rehearsal
