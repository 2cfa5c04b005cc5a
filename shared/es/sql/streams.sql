-- The next page of an aggregate's streams. $1 aggregate, $2 and $3 after, $4 limit
select stream, tenant from events
where version = 1 and aggregate = $1 and (stream, tenant) > ($2, $3::uuid)
order by stream, tenant limit $4
