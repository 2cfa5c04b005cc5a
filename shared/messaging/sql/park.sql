-- $1 consumer, then columns in the order in which the messages stand in their topics; $14 now
insert into parked (consumer, key, source, message_id, day, topic, partition, "offset", record_key, headers, value, reason, error, at)
select $1, t.key, t.source, t.id, t.day, t.topic, t.part, t.off, t.rkey, t.headers, t.value, t.reason, t.error, $14::timestamptz
from unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::text[], $7::int[], $8::bigint[], $9::bytea[], $10::bytea[], $11::bytea[],
            $12::text[], $13::text[])
     with ordinality as t(key, source, id, day, topic, part, off, rkey, headers, value, reason, error, n) order by t.n
on conflict do nothing
