-- Keys with nothing behind them are free. $1 consumer, $2 keys
delete from blocked b using unnest($2::text[]) as t(key)
where b.consumer = $1 and b.key = t.key and not exists (select 1 from parked p where p.consumer = $1 and p.key = t.key)
