-- Those with more behind them go on at once. $1 consumer, $2 keys, $3 now
update blocked set next_at = $3::timestamptz, attempts = 0 where consumer = $1 and key = any($2::text[])
