-- $1 consumer, $2 the tenant's prefix or ''
select b.key, b.reason, b.error, b.attempts, b.next_at, b.since, count(p.position) as messages,
       min(p.position) as head, min(p.at) as oldest, b.next_at is null as dead
from blocked b left join parked p using (consumer, key)
where b.consumer = $1 and starts_with(b.key, $2)
group by b.consumer, b.key order by b.since, b.key
