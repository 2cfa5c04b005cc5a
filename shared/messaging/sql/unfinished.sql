-- What waits to be sent, done, told, or tried again. $1 tenant, null: all; $2 kinds of effects that wait for the tenant's clock; $3 now
select (select count(*) from outbox o where $1::uuid is null or position(convert_to($1::text, 'UTF8') in o.headers) > 0) as outgoing,
       (select count(*) from effects e left join rehearsal_clocks_v1 c on c.tenant = e.tenant
        where ($1::uuid is null or e.tenant = $1)
          and (e.state = 'sending'
               or (e.state = 'queued' and e.due_at <= case when e.kind = any($2::text[]) and e.attempt = 0
                                                           then coalesce(c.stands_at, $3::timestamptz) else $3::timestamptz end)))
       as effects,
       (select count(*) from effects e
        where ($1::uuid is null or e.tenant = $1) and e.told_at is null and e.state in ('done', 'failed', 'unknown')) as untold,
       (select count(*) from blocked b
        where b.next_at is not null and ($1::uuid is null or starts_with(b.key, $1::text || '/'))) as retried
