-- The head failed once more. $1 consumer, $2 keys, $3 errors, $4 next tries (null: dead), $5 reasons
update blocked b set attempts = b.attempts + 1, error = t.error, next_at = t.next_at, reason = t.reason
from unnest($2::text[], $3::text[], $4::timestamptz[], $5::text[]) as t(key, error, next_at, reason)
where b.consumer = $1 and b.key = t.key
