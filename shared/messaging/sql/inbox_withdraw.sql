-- The lists lead to the rows by the key, the pairs say which of them. $1 consumer
delete from inbox where consumer = $1 and source = any($2::text[]) and message_id = any($3::text[]) and day = any($4::date[])
   and (source, message_id, day) in (select * from unnest($2::text[], $3::text[], $4::date[]))
