-- The same with identity, context and time. $1 tenants, $2 streams
select e.id, e.tenant, e.stream, e.aggregate, e.version, e.type, e.data::text as data,
       e.correlation_id, e.causation_id, e.hops, e.actor, e.traceparent, e.recorded_at
from unnest($1::uuid[], $2::text[]) as want(tenant, stream)
cross join lateral (select * from events where tenant = want.tenant and stream = want.stream order by version offset 0) e
order by e.tenant, e.stream, e.version
