-- Every event of the batch in one statement; the caller sorts by (tenant, stream, version).
insert into events (id, tenant, aggregate, stream, version, type, data, correlation_id, causation_id, hops, actor, traceparent, recorded_at)
select t.id, t.tenant, t.aggregate, t.stream, t.version, t.type, t.data::json, t.corr, t.cause, t.hops, t.actor, t.trace, t.at
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::smallint[], $11::text[], $12::text[], $13::timestamptz[])
     with ordinality as t(id, tenant, aggregate, stream, version, type, data, corr, cause, hops, actor, trace, at, n)
order by t.n
