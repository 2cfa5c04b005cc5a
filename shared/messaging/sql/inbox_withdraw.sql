delete from inbox i using unnest($2::text[], $3::text[], $4::date[]) as t(source, id, day)
where i.consumer = $1 and i.source = t.source and i.message_id = t.id and i.day = t.day
