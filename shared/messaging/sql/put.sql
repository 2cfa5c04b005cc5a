-- $1 topics, $2 keys, $3 packed headers, $4 values, $5 now; positions follow the order of the arrays
insert into outbox (topic, key, headers, value, at)
select t.topic, t.key, t.headers, t.value, $5::timestamptz
from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) with ordinality as t(topic, key, headers, value, n)
order by t.n;
