-- How many events there are, and how many messages and requests were taken. $1 tenant, null: all; `handled` is of all
select (select count(*) from events e where $1::uuid is null or e.tenant = $1) as events,
       coalesce(pg_sequence_last_value('inbox_position'), 0) as handled
