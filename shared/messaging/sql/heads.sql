-- The head of each due key, its lane held. $1 consumer, $2 now, $3 most
with due as (select consumer, key, attempts from blocked where consumer = $1 and next_at <= $2::timestamptz
             order by next_at limit $3 for update skip locked)
select distinct on (p.key) p.*, due.attempts from parked p join due using (consumer, key) order by p.key, p.position
