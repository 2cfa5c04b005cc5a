-- What was answered before. $1 consumer, $2 sources, $3 ids
select i.source, i.message_id, i.body_hash, i.answer::text as answer
from unnest($2::text[], $3::text[]) as t(source, id)
cross join lateral (select * from inbox where consumer = $1 and source = t.source and message_id = t.id and day = '1970-01-01' offset 0) i
