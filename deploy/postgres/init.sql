-- Five databases and their roles, no cross grants (architecture B.5); run once, by the PostgreSQL image, when its volume is new.
-- The embedded stack does the same in deploy/local/postgres.py; tests/kit/test_compose.py compares the outcomes.

\getenv deals_password DEALS_PASSWORD
\getenv automation_password AUTOMATION_PASSWORD
\getenv billing_password BILLING_PASSWORD
\getenv scheduler_password SCHEDULER_PASSWORD
\getenv notifications_password NOTIFICATIONS_PASSWORD

create temporary table service (name text, password text);
insert into service values
    ('deals', :'deals_password'),
    ('automation', :'automation_password'),
    ('billing', :'billing_password'),
    ('scheduler', :'scheduler_password'),
    ('notifications', :'notifications_password');

select format('create role %I nologin', name || part) from service, unnest(array['_owner', '_kit', '_reader']) as part \gexec
select format('create role %I login noinherit password %L', name, password) from service \gexec
select format('grant %I, %I, %I to %I', name || '_owner', name || '_kit', name || '_reader', name) from service \gexec
select format('create database %I owner %I', 'dealwright_' || name, name || '_owner') from service \gexec
select format('revoke all on database %I from public', 'dealwright_' || name) from service \gexec
select format('grant connect on database %I to %I', 'dealwright_' || name, name) from service \gexec
