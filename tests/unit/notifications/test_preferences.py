from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from services.notifications.domain.origin import Origin
from services.notifications.domain.preferences import PREFERENCES, Preferences, PreferencesChanged, Quiet, SetPreferences, by_default
from shared.testing.given import given

BY = Origin("person", id="anna")
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Quiet(time(22), time(7))
LUNCH = Quiet(time(12), time(13))


def at(hour: int, minute: int = 0, day: int = 2) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=BERLIN).astimezone(UTC)


def test_by_default_everything_is_in_the_feed_and_what_went_wrong_comes_by_mail_too() -> None:
    assert Preferences().channels_for("payment") == ("in_app",)
    assert Preferences().channels_for("run_failed") == ("in_app", "email")
    assert Preferences().channels_for("what a rule calls it") == ("in_app",)


def test_a_topic_can_be_switched_off_and_others_stay() -> None:
    command = SetPreferences({"payment": (), "activity": ("email", "in_app")}, (), None, BY)
    channels = by_default() | {"payment": (), "activity": ("in_app", "email")}
    state = given(PREFERENCES).when(command).then(PreferencesChanged(channels, (), None, BY))
    assert state.channels_for("payment") == ()
    given(PREFERENCES, PreferencesChanged(channels, (), None, BY)).when(command).nothing_happens()


def test_unknown_topics_and_channels_are_named() -> None:
    given(PREFERENCES).when(SetPreferences({"gossip": ()}, (), None, BY)).refused("validation_failed", "/channels/gossip")
    given(PREFERENCES).when(SetPreferences({"payment": ("pigeon",)}, (), None, BY)).refused("validation_failed", "/channels/payment")
    given(PREFERENCES).when(SetPreferences({}, (NIGHT,) * 11, None, BY)).refused("validation_failed", "/quiet_hours")


def test_quiet_hours_may_go_over_midnight() -> None:
    quiet = Preferences(quiet_hours=(NIGHT, LUNCH))
    assert quiet.quiet_until(at(23), BERLIN) == at(7, day=3)
    assert quiet.quiet_until(at(6, 59), BERLIN) == at(7)
    assert quiet.quiet_until(at(7), BERLIN) is None
    assert quiet.quiet_until(at(12, 30), BERLIN) == at(13)
    assert quiet.quiet_until(at(21, 59), BERLIN) is None


def test_quiet_hours_are_local() -> None:
    assert Preferences(quiet_hours=(NIGHT,)).quiet_until(at(15), ZoneInfo("Asia/Tokyo")) == at(23)


def test_a_digest_comes_at_its_next_time() -> None:
    assert Preferences().digest_after(at(8), BERLIN) is None
    assert Preferences(digest=time(9)).digest_after(at(8), BERLIN) == at(9)
    assert Preferences(digest=time(9)).digest_after(at(9), BERLIN) == at(9, day=3)
