"""Who changed what, and why: I25 of every service, as far as there is an audit.

Events are their own record: each names its actor and its cause, and neither is ever updated or deleted. The table `audit` holds what
is no event: an operator's verb, a key that was refused. There is no chain of hashes over either yet (T20)."""

from __future__ import annotations

from tests.chaos.laws import Law

NAMED = "'^(system|(user|key):[^:]+)$'"

LAWS = (
    Law(
        "I25",
        "each change names who made it and what caused it",
        f"""select format('%s %s %s: actor %L, cause %L, chain %L', aggregate, id, version, actor, causation_id, correlation_id) as what
            from chk.event where actor !~ {NAMED} or causation_id = '' or correlation_id = '' or hops < 0""",
    ),
    Law(
        "I25",
        "whoever changes something is an employee or holds a key of his tenant",
        """select format('%s %s %s: nobody is %s', aggregate, e.id, e.version, e.actor) as what from chk.event e
           where (e.actor like 'user:%' and not exists (
                      select 1 from public.employees_v1 m where m.tenant = e.tenant and m.id = substr(e.actor, 6)))
              or (e.actor like 'key:%' and not exists (
                      select 1 from public.credentials_v1 c where c.tenant = e.tenant and e.actor in (c.actor, 'key:' || c.id)))""",
    ),
    Law(
        "I25",
        "what was not asked over HTTP was caused by a message that was taken in, or by an event here",
        """select format('%s %s %s was caused by %s, which is not known here', aggregate, e.id, e.version, e.causation_id) as what
           from chk.event e
           where e.hops > 0 and not exists (select 1 from public.inbox i where i.message_id = e.causation_id)
             and not exists (select 1 from public.events c where c.tenant = e.tenant and c.id::text = e.causation_id)""",
    ),
    Law(
        "I25",
        "each row of the audit names who, what and when",
        """select format('audit %s: %L did %L at %s', id, principal, action, at) as what from public.audit
           where principal !~ '^(system|(user|key|credential|cli):[^:]+)$' or action !~ '^[a-z]+[.][a-z]+$' or tenant is null
              or at > clock_timestamp()""",
    ),
)
"""The third looks at hops: a request over HTTP has none, its id is kept nowhere, and its row in the inbox bears its key."""
