-- $1 kind, $2 most, $3 now
select tenant, kind, key, stream, request, context, attempt, fence, earlier, state, coalesce(outcome, '{}'::json) as outcome
from effects
where kind = $1 and told_at is null and state in ('done', 'failed', 'unknown') and due_at <= $3::timestamptz
order by due_at limit $2 for update skip locked
