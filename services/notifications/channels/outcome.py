"""What came of an attempt, and when the next one is made. (D38)"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_never

from services.notifications.domain.notice import NOTICE, NoticeCommand, RecordFailed, RecordSent, RecordUnknown
from shared.es.addressed import Addressed, Facts
from shared.messaging.effects import Claimed, Performed

RETRIES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
    timedelta(hours=24),
)
"""After each attempt but the last: seven in all, over a day and a half."""


def done(**outcome: Any) -> Performed:
    return Performed("done", outcome)


def refused(code: str, detail: str) -> Performed:
    """For good: asking again would not help."""
    return Performed("failed", {"code": code, "detail": detail[:500]})


def failed_for_now(claimed: Claimed, detail: str) -> Performed:
    """Tried again on the schedule; after the last attempt it has failed."""
    outcome = {"code": "retries_exhausted", "detail": detail[:500]}
    if claimed.attempt > len(RETRIES):
        return Performed("failed", outcome)
    return Performed("failed", outcome, again_after=RETRIES[claimed.attempt - 1])


def perhaps(detail: str) -> Performed:
    """It may have happened. What follows depends on the kind: again, or a person decides (R15)."""
    return Performed("unknown", {"code": "unknown", "detail": detail[:500]})


def tell(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    """What became of a notice, told to it."""
    id, round, outcome = claimed.request["notice_id"], claimed.request["round"], performed.outcome
    detail = str(outcome.get("detail") or outcome.get("error") or "")

    def told(seen: Facts) -> NoticeCommand:
        match performed.state:
            case "done":
                sandbox = bool(outcome.get("sandbox"))
                return RecordSent(round, seen.now, claimed.attempt, outcome.get("message_id"), sandbox)
            case "failed":
                return RecordFailed(round, seen.now, claimed.attempt, str(outcome.get("code", "failed")), detail)
            case "unknown":
                return RecordUnknown(round, seen.now, claimed.attempt, detail)
            case _:
                assert_never(performed.state)

    return Addressed(NOTICE, id, told)
