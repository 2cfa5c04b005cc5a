-- $1 consumer, $11 now; arrays in order of offset
insert into inbox (consumer, source, message_id, day, topic, key, stream, version, outcome, body_hash, at)
select $1, t.source, t.id, t.day, t.topic, t.key, t.stream, t.version, t.outcome, t.hash, $11::timestamptz
from unnest($2::text[], $3::text[], $4::date[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[], $10::bytea[])
     with ordinality as t(source, id, day, topic, key, stream, version, outcome, hash, n) order by t.n
on conflict do nothing
returning source, message_id
