insert into quarantine (topic, partition, "offset", key, headers, value, reason, at)
select t.topic, t.part, t.off, t.key, t.headers, t.value, t.reason, $8::timestamptz
from unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[])
     as t(topic, part, off, key, headers, value, reason) order by 1, 2, 3
on conflict do nothing
