"""Failpoints: `fp("name")` does nothing unless FAILPOINTS is set (reliability 4.3). Production refuses to start with it set.

FAILPOINTS="relay.after_ack=kill@3;cons.before_tx=sleep20@1" acts on the n-th pass of a name, once; `@*` acts on every
pass. Counting passes instead of time makes a schedule repeatable on a busy machine. Actions:

    kill     SIGKILL to this process          stop       SIGSTOP: somebody else sends SIGCONT
    sleepS   S seconds, fractions allowed     raise      raises FailpointHit here
    partial  duplicate  unknown               returned to the place, which does half, does it twice, or raises after it is done
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections import Counter
from dataclasses import dataclass

BY_PLACE = {
    "commands": "cmd.gathered cmd.before_tx cmd.after_insert cmd.after_commit_before_reply",
    "relay": "relay.before_send relay.mid_batch relay.after_ack relay.after_delete relay.lease_renew",
    "consumer": "cons.after_fetch cons.before_tx cons.after_inbox cons.in_tx cons.before_commit cons.after_commit"
    " cons.after_offset cons.on_revoked cons.on_assigned",
    "parked keys": "park.before_insert park.after_take park.before_commit",
    "deciding": "pm.after_decide pm.before_commit",
    "provider": "hook.after_verify hook.after_store_before_200 pay.before_call pay.after_call_before_store",
    "scheduler": "tm.after_claim tm.before_commit tm.after_commit",
    "notifications": "mail.after_claim mail.before_data mail.after_250_before_store wh.after_2xx_before_store",
    "migrations": "mig.between_steps",
    "shutdown": "sd.after_ready_off sd.mid_drain",
}
NAMES = frozenset(" ".join(BY_PLACE.values()).split())
"""All of them; a name that is not here is an error wherever it is used, and each has a place in the code.

Numbers of invoices have none of their own: they are drawn while a batch is decided, and written with it (pm.*). Rebuilds have none:
what knows streams knows nothing of how it is run, and a rebuild is transactions, each of which may be the last."""

ACTION = r"kill|stop|raise|partial|duplicate|unknown|sleep(?P<seconds>\d+(\.\d+)?)"
FORM = re.compile(rf"(?P<name>[a-z0-9_.]+)=(?P<action>{ACTION})@(?P<pass>\d+|\*)")


class FailpointHit(Exception):
    """Raised by the action `raise`. Nothing of ours catches it by name: it is a bug that somebody planted."""


@dataclass(frozen=True, slots=True)
class Planted:
    """`at`: the pass it acts on, 1 is the first; None is every pass."""

    action: str
    seconds: float
    at: int | None


_planted: dict[str, list[Planted]] | None = None
passes: Counter[str] = Counter()
"""How often each name was passed while any was planted: a harness finds out which ones it never reached."""


def plant(text: str) -> None:
    """Replaces what is planted; '' removes everything. Raises ValueError for a name or an action that does not exist."""
    global _planted
    found: dict[str, list[Planted]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = FORM.fullmatch(part)
        if match is None or match["name"] not in NAMES:
            raise ValueError(f"FAILPOINTS: {part!r} is no <known name>=<action>@<n>")
        action = "sleep" if match["seconds"] else match["action"]
        at = None if match["pass"] == "*" else int(match["pass"])
        found.setdefault(match["name"], []).append(Planted(action, float(match["seconds"] or 0), at))
    passes.clear()
    _planted = found or None


def planted() -> bool:
    return _planted is not None


def fp(name: str) -> str | None:
    """Nothing, or what is planted for this pass. Returns 'partial', 'duplicate' or 'unknown' when the place has to act itself."""
    if _planted is None:
        return None
    hit = _hit(name)
    if hit is not None and hit.action == "sleep":
        threading.Event().wait(hit.seconds)
    return _done(name, hit)


async def afp(name: str) -> str | None:
    """The same where something may be awaited: `sleepS` leaves the event loop running."""
    if _planted is None:
        return None
    hit = _hit(name)
    if hit is not None and hit.action == "sleep":
        await asyncio.sleep(hit.seconds)
    return _done(name, hit)


def _hit(name: str) -> Planted | None:
    if name not in NAMES:
        raise ValueError(f"{name!r} is not a registered failpoint")
    passes[name] += 1
    here = (_planted or {}).get(name, ())
    return next((one for one in here if one.at is None or one.at == passes[name]), None)


def _done(name: str, hit: Planted | None) -> str | None:
    match hit.action if hit else "":
        case "kill":
            _die(name, signal.SIGKILL)
        case "stop":
            _die(name, signal.SIGSTOP)
        case "raise":
            raise FailpointHit("planted here")
        case "partial" | "duplicate" | "unknown" as own:
            return own
    return None


def _die(name: str, how: signal.Signals) -> None:
    """Its last words, past all buffers: whoever reads the log knows where it ended."""
    os.write(2, f"failpoint {name}: {how.name}\n".encode())
    os.kill(os.getpid(), how)


plant(os.environ.get("FAILPOINTS", ""))
