-- $1 acknowledged, $2 me, $3 my fence; no row deleted: the lease is lost, stop sending
delete from outbox where position = any($1::bigint[])
   and exists (select 1 from leases where resource = 'relay' and owner = $2 and fence = $3);
