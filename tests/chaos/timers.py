"""Timers, from the scheduler's log: I18 never early, I19 exactly once for each due time, never after a cancellation, none forgotten."""

from __future__ import annotations

from tests.chaos.laws import Law

VIEWS = """
create view chk.timer_event as
select tenant, id, version, type, coalesce(data -> 'armed', data -> 'again') -> 'due' as due, (data ->> 'due_at')::timestamptz as due_at,
       coalesce(data ->> 'fired_at', data ->> 'found_at')::timestamptz as at, coalesce((data ->> 'early')::boolean, false) as early,
       lag(type) over stream as before, lead(type) over stream as behind
from chk.event where aggregate = 'timer'
window stream as (partition by tenant, id order by version);
"""
"""`due`: what the timer is armed for from this event on. `due_at`, `at`: of what fired or was missed."""

LAWS = (
    Law(
        "I18",
        "no timer fires before it is due",
        "select format('timer %s, due at %s, fired at %s', id, due_at, at) as what from chk.timer_event where at < due_at and not early",
    ),
    Law(
        "I19",
        "a timer fires or is missed once for each time it was due",
        """select format('timer %s: %s times for %s', id, count(*), due_at) as what from chk.timer_event
           where type in ('TimerFired', 'TimerMissed') group by tenant, id, due_at having count(*) > 1""",
    ),
    Law(
        "I19",
        "a timer that was cancelled stays silent",
        """select format('timer %s: %s after it was cancelled', id, type) as what from chk.timer_event
           where type in ('TimerFired', 'TimerMissed') and before = 'TimerCancelled'""",
    ),
    Law(
        "I19",
        "no timer is forgotten",
        """select format('timer %s was due at %s', id, due ->> 'due_at') as what from chk.timer_event
           where behind is null and due ->> 'due_at' is not null and due ->> 'waiting_for' is null
             and (due ->> 'due_at')::timestamptz < clock_timestamp() - interval '10 seconds'""",
    ),
)
