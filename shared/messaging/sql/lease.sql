-- $1 resource, $2 me (new at every process start), $3 now; no row: somebody else has it
insert into leases as l (resource, owner, fence, until)
values ($1, $2, 1, $3::timestamptz + interval '10 s')
on conflict (resource) do update
   set owner = excluded.owner, fence = l.fence + (l.owner <> excluded.owner)::int, until = excluded.until
 where l.owner = excluded.owner or l.until < $3::timestamptz
returning fence;
