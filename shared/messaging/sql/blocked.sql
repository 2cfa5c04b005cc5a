-- $1 consumer, $2 keys
select key from blocked where consumer = $1 and key = any($2::text[]) order by key for share
