-- Every stream of the batch in one query. $1 tenants, $2 streams
-- lateral, offset 0: each stream by its key, whatever the planner believes of a table it has no statistics of (decision 0006)
select e.tenant, e.stream, e.aggregate, e.type, e.data::text as data
from unnest($1::uuid[], $2::text[]) as want(tenant, stream)
cross join lateral (select * from events where tenant = want.tenant and stream = want.stream order by version offset 0) e
order by e.tenant, e.stream, e.version
