-- With the batch; the key is the promise.
insert into effects (tenant, kind, key, stream, request, context, due_at)
select t.tenant, t.kind, t.key, t.stream, t.request::json, t.context::json, t.due_at
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
     as t(tenant, kind, key, stream, request, context, due_at)
order by 1, 2, 3
on conflict do nothing
