-- Only what is not plainly applied, and HTTP answers. The rows are there: they are found by the key of the conflict, which no
-- plan can make a scan of (decision 0006). $1 consumer, $7 now
insert into inbox (consumer, source, message_id, day, outcome, answer, at)
select $1, t.source, t.id, t.day, t.outcome, t.answer::json, $7::timestamptz
from unnest($2::text[], $3::text[], $4::date[], $5::text[], $6::text[]) as t(source, id, day, outcome, answer)
on conflict (consumer, source, message_id, day) do update set outcome = excluded.outcome, answer = excluded.answer
