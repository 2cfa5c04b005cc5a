-- A statement of its own, after translating and before loading. $1 names 'tenant/stream' and 'tenant/set', $2 exclusive?
select case when l.x then pg_advisory_xact_lock(l.k) else pg_advisory_xact_lock_shared(l.k) end
from (select hashtextextended(t.name, 0) as k, bool_or(t.x) as x
      from unnest($1::text[], $2::bool[]) as t(name, x) group by 1 order by 1) as l
