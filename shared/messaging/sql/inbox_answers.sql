-- What was answered before. $1 consumer, $2 sources, $3 ids
select i.source, i.message_id, i.body_hash, i.answer::text as answer
from unnest($2::text[], $3::text[]) as t(source, id)
join inbox i on i.consumer = $1 and i.source = t.source and i.message_id = t.id and i.day = '1970-01-01'
