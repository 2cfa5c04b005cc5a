-- $1 consumer, $2 keys, $3 reasons, $4 errors, $5 first retries, $6 now
insert into blocked (consumer, key, reason, error, next_at, since)
select $1, t.key, t.reason, t.error, t.next_at, $6::timestamptz
from unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) as t(key, reason, error, next_at) order by t.key
on conflict do nothing
