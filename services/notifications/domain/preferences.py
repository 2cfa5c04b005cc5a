"""What an employee wants to be told, by which channel and when. Internal notices only. (notifications 2.2, F29)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import assert_never
from zoneinfo import ZoneInfo

from services.notifications.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, Rejected

TOPICS = ("payment", "run_failed", "activity", "decision", "money_problem", "system", "document")
CHANNELS = ("in_app", "email", "sms")
BY_EMAIL_TOO = ("run_failed", "money_problem")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Local times; a span that ends before it starts goes over midnight."""

    starts: time
    ends: time


@dataclass(frozen=True, slots=True)
class SetPreferences:
    """All of them, as they are from now on. `digest` is the local time of a daily digest, or None."""

    channels: Mapping[str, tuple[str, ...]]
    quiet_hours: tuple[Quiet, ...]
    digest: time | None
    origin: Origin


PreferencesCommand = SetPreferences


@dataclass(frozen=True, slots=True)
class PreferencesChanged:
    channels: dict[str, tuple[str, ...]]
    quiet_hours: tuple[Quiet, ...]
    digest: time | None
    origin: Origin


def by_default() -> dict[str, tuple[str, ...]]:
    return {topic: ("in_app", "email") if topic in BY_EMAIL_TOO else ("in_app",) for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class Preferences:
    """Also what counts for who has never said anything."""

    channels: Mapping[str, tuple[str, ...]] = field(default_factory=by_default)
    quiet_hours: tuple[Quiet, ...] = ()
    digest: time | None = None

    def channels_for(self, topic: str) -> tuple[str, ...]:
        """In the order of CHANNELS. A topic that nobody chose channels for is shown in the feed."""
        chosen = self.channels.get(topic, ("in_app",))
        return tuple(channel for channel in CHANNELS if channel in chosen)

    def quiet_until(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """The end of the quiet hours that `now` lies in, or None."""
        local = now.astimezone(zone)
        for quiet in self.quiet_hours:
            over_midnight = quiet.ends <= quiet.starts
            clock = local.time().replace(tzinfo=None)
            inside = clock >= quiet.starts or clock < quiet.ends if over_midnight else quiet.starts <= clock < quiet.ends
            if inside:
                return next_time(now, quiet.ends, zone)
        return None

    def digest_after(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When what happens now is told as a digest, or None: at once."""
        return None if self.digest is None else next_time(now, self.digest, zone)


def next_time(now: datetime, clock: time, zone: ZoneInfo) -> datetime:
    """The next moment after now at which a clock in the zone shows this time."""
    local = now.astimezone(zone)
    for ahead in (0, 1):
        at = datetime.combine(local.date() + ahead * DAY, clock, tzinfo=zone).astimezone(UTC)
        if at > now:
            return at
    return now + DAY


def decide(preferences: Preferences, command: PreferencesCommand) -> Sequence[PreferencesChanged]:
    """Raises Rejected(validation_failed), 422."""
    match command:
        case SetPreferences(channels=channels, quiet_hours=quiet, digest=digest, origin=origin):
            known = {topic: _checked(topic, chosen) for topic, chosen in channels.items()}
            if len(quiet) > 10:
                raise _bad("/quiet_hours", "At most ten spans of quiet hours.")
            wanted = Preferences(by_default() | known, quiet, digest)
            return [] if wanted == preferences else [PreferencesChanged(dict(wanted.channels), quiet, digest, origin)]
        case _:
            assert_never(command)


def _checked(topic: str, chosen: tuple[str, ...]) -> tuple[str, ...]:
    if topic not in TOPICS:
        raise _bad(f"/channels/{topic}", f"Topics are {', '.join(TOPICS)}.")
    if unknown := set(chosen) - set(CHANNELS):
        raise _bad(f"/channels/{topic}", f"{sorted(unknown)[0]!r} is no channel; channels are {', '.join(CHANNELS)}.")
    return tuple(channel for channel in CHANNELS if channel in chosen)


def _bad(pointer: str, detail: str) -> Rejected:
    return Rejected("validation_failed", detail, status=422, errors=[Fault(pointer, "validation_failed", detail)])


def evolve(preferences: Preferences, event: PreferencesChanged) -> Preferences:
    return Preferences(event.channels, event.quiet_hours, event.digest)


PREFERENCES: Aggregate[Preferences, PreferencesCommand, PreferencesChanged] = Aggregate(
    "preferences", Preferences(), decide, evolve, (PreferencesChanged,)
)
