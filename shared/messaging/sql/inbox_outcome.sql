-- Only what is not plainly applied, and HTTP answers.
update inbox i set outcome = t.outcome, answer = t.answer::json
from unnest($2::text[], $3::text[], $4::date[], $5::text[], $6::text[]) as t(source, id, day, outcome, answer)
where i.consumer = $1 and i.source = t.source and i.message_id = t.id and i.day = t.day
