-- The kit's own tables (architecture C.1). :kit and :reader stand for the service's roles.

create table events (
    position       bigint generated always as identity,  -- for people; no index, and never a cursor
    id             uuid not null unique,                  -- uuid of the cause; also the public message's id
    tenant         uuid not null,
    aggregate      text collate "C" not null,
    stream         text collate "C" not null,
    version        int  not null,
    type           text not null,
    data           json not null,                         -- json, not jsonb: half the server's CPU per row
    correlation_id text not null, causation_id text not null, hops smallint not null, actor text not null, traceparent text,
    recorded_at    timestamptz not null,
    primary key (tenant, stream, version)                 -- optimistic concurrency is this line
);
create index events_first on events (aggregate, stream, tenant) where version = 1;
create index events_chain on events (tenant, correlation_id);

create table outbox (
    position bigint generated always as identity primary key,
    topic text not null, key text not null, headers bytea not null, value bytea not null,
    at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.01);

create sequence inbox_position;
create table inbox (
    consumer text collate "C" not null, source text collate "C" not null, message_id text collate "C" not null,
    day date not null,
    topic text, key text, stream text, version int,
    outcome text not null default 'applied',              -- applied (refusals too) | ignored | parked | dead
    body_hash bytea, answer json,
    at timestamptz not null,
    position bigint not null default nextval('inbox_position'),
    primary key (consumer, source, message_id, day)
) partition by range (day);
create table inbox_other partition of inbox default with (autovacuum_vacuum_scale_factor = 0.01);

create table blocked (
    consumer text collate "C" not null, key text collate "C" not null,
    reason text not null, error text, attempts int not null default 0,
    next_at timestamptz,                                  -- null: dead, waits for an operator
    since timestamptz not null,
    primary key (consumer, key)
);
create index blocked_due on blocked (consumer, next_at) where next_at is not null;

create table parked (
    position bigint generated always as identity primary key,
    consumer text collate "C" not null, key text collate "C" not null, source text not null, message_id text not null, day date not null,
    topic text, partition int, "offset" bigint, record_key bytea, headers bytea not null, value bytea not null,
    reason text not null,
    error text, at timestamptz not null,
    unique (consumer, source, message_id)
);
create index parked_key on parked (consumer, key, position);

create table quarantine (
    topic text, partition int, "offset" bigint, key bytea, headers bytea, value bytea, reason text not null, at timestamptz not null,
    primary key (topic, partition, "offset")
);

create table effects (
    tenant uuid not null, kind text not null, key text collate "C" not null,
    stream text not null, request json not null,
    context json not null,                                -- of the event that asked: the outcome belongs to the same chain
    state text not null default 'queued',                 -- queued | sending | done | failed | unknown
    earlier text not null default 'none',                 -- none | failed | unknown: what the last attempt left
    attempt int not null default 0, fence bigint not null default 0, owner text, until timestamptz,
    due_at timestamptz not null, outcome json, told_at timestamptz,
    primary key (tenant, kind, key)
) with (autovacuum_vacuum_scale_factor = 0.01);
create index effects_due    on effects (kind, due_at) where state = 'queued';
create index effects_out    on effects (kind, until)  where state = 'sending';
create index effects_untold on effects (kind, due_at) where told_at is null and state in ('done', 'failed', 'unknown');

create table leases (resource text primary key, owner text not null, fence bigint not null, until timestamptz not null);
insert into leases values ('relay', '', 0, '-infinity');

create table audit (
    id uuid primary key, tenant uuid, principal text not null, action text not null, ref text, detail json, at timestamptz not null
);

grant usage on schema public to :kit, :reader;
grant select, insert on events, audit to :kit;
grant select, insert, update, delete on outbox, inbox, blocked, parked, quarantine, effects, leases to :kit;
grant usage on all sequences in schema public to :kit;

alter table events enable row level security;
alter table events force row level security;
create policy kit on events to :kit using (true) with check (true);
create policy tenant on events for select to :reader using (tenant = nullif(current_setting('app.tenant', true), '')::uuid);
grant select on events to :reader;
