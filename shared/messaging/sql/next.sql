-- $1 limit. No cursor: whatever is still here has not been acknowledged, however late it was committed
select position, topic, key, headers, value from outbox order by position limit $1;
