-- $1 resource, $2 me, $3 my fence, $4 now: the next one need not wait until it runs out
update leases set until = $4::timestamptz where resource = $1 and owner = $2 and fence = $3;
