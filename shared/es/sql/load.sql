-- Every stream of the batch in one query. $1 tenants, $2 streams
select e.tenant, e.stream, e.aggregate, e.type, e.data::text as data
from unnest($1::uuid[], $2::text[]) as want(tenant, stream)
join events e on e.tenant = want.tenant and e.stream = want.stream
order by e.tenant, e.stream, e.version
