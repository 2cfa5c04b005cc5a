-- $1 now, $2 most rows worth counting
select count(*) as pending, coalesce(extract(epoch from $1::timestamptz - min(at)), 0)::float8 as oldest
from (select at from outbox order by position limit $2) as first_rows;
