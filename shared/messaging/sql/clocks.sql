-- Whether tenants rehearse, and where their clocks stand. $1 tenants; a rehearsal clock is kept of rehearsals alone
select w.tenant, t.rehearsal, c.stands_at
from unnest($1::uuid[]) as w(tenant)
left join lateral (select rehearsal from tenants_v1 where tenant = w.tenant limit 1) t on true
left join lateral (select stands_at from rehearsal_clocks_v1 where tenant = w.tenant limit 1) c on true
