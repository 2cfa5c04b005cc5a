from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import Any

import pytest

from services.notifications.domain.notice import (
    NOTICE,
    Attachment,
    Content,
    JoinNotice,
    NoticeCommand,
    NoticeEvent,
    NoticeFailed,
    NoticeJoined,
    NoticeQueued,
    NoticeRead,
    NoticeRequested,
    NoticeResolved,
    NoticeSent,
    NoticeSuppressed,
    NoticeUnknown,
    ReadNotice,
    Recipient,
    RecordFailed,
    RecordSent,
    RecordUnknown,
    ReleaseNotice,
    RequestNotice,
    ResolveNotice,
    RetryNotice,
    SuppressNotice,
    Window,
)
from services.notifications.domain.origin import Origin
from services.notifications.domain.texts import LANGUAGES, TEXTS, said
from shared.testing.given import given

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULE, PERSON = Origin("rule", id="mail"), Origin("person", id="anna")
PETRA = Recipient(address="petra@example.org")
ANNA = Recipient(employee_id="anna", name="Anna Amsel")
LINK = Content("Please pay: https://pay.test/abc", "Your invoice")
PAID = Content("Invoice RE-1 is paid.", "Payment received")
WINDOW = Window("paid/deal/anna", NOW + MINUTE)


def mail(**more: Any) -> RequestNotice:
    fields: dict[str, Any] = {"channel": "email", "recipient": PETRA, "content": LINK, "importance": "customer"} | more
    return RequestNotice("request", at=NOW, origin=RULE, **fields)


def asked(**more: Any) -> NoticeRequested:
    fields: dict[str, Any] = {"channel": "email", "recipient": PETRA, "content": LINK, "element": None, "importance": "customer"}
    fields |= {"message_class": "message", "topic": "system", "held_until": None, "window": None, "urgent": False} | more
    return NoticeRequested("request", at=NOW, origin=RULE, **fields)


def in_feed(**more: Any) -> NoticeRequested:
    return asked(**({"channel": "in_app", "recipient": ANNA, "content": PAID, "importance": "internal"} | more))


def sent(attempts: int = 1) -> NoticeSent:
    return NoticeSent(NOW, attempts, "<request@mail.test>", False, RULE)


FEED_SENT = NoticeSent(NOW, 1, None, False, RULE)
FAILED = NoticeFailed("refused_by_server", "550 no such user", 1, NOW, RULE)
UNKNOWN = NoticeUnknown("the sender stopped", 1, NOW)


def test_a_mail_is_asked_for_once() -> None:
    state = given(NOTICE).when(mail()).then(asked())
    assert state.status == "sending"
    for past in ([asked()], [asked(), sent()], [asked(), UNKNOWN]):
        given(NOTICE, *past).when(mail()).nothing_happens()


def test_a_notice_in_the_feed_is_there_at_once() -> None:
    command = mail(channel="in_app", recipient=ANNA, content=PAID, importance="internal", held_until=NOW + MINUTE)
    state = given(NOTICE).when(command).then(in_feed(), FEED_SENT)
    assert state.status == "sent"


def test_asked_again_after_a_failure_it_is_sent_again_with_what_is_said_now() -> None:
    corrected = replace(LINK, subject="Your invoice, once more")
    state = given(NOTICE, asked(), FAILED).when(mail(content=corrected)).then(NoticeQueued(2, corrected, NOW))
    assert (state.status, state.round, state.code) == ("sending", 2, None)


@pytest.mark.parametrize(
    ("command", "code", "pointer"),
    [
        (mail(recipient=Recipient(address="")), "recipient_missing", "/to"),
        (mail(recipient=Recipient(address="petra")), "bad_address", "/to"),
        (mail(channel="sms", recipient=Recipient(address="0170 1234567")), "bad_address", "/to"),
        (mail(content=replace(LINK, subject="Hello\r\nBcc: evil@example.org")), "validation_failed", "/subject"),
        (mail(content=replace(LINK, subject="Hello\u2028")), "validation_failed", "/subject"),
        (mail(content=replace(LINK, subject="x" * 999)), "too_large", "/subject"),
        (mail(content=replace(LINK, text="ü" * 110_000)), "too_large", "/text"),
        (mail(content=replace(LINK, html="x" * 210_000)), "too_large", "/text"),
        (mail(content=replace(LINK, reply_to="nobody")), "bad_address", "/reply_to"),
        (mail(channel="sms", recipient=Recipient(address="+491701234567"), content=Content("x" * 1601)), "too_large", "/text"),
        (mail(content=replace(LINK, attachments=(Attachment("f", "f", "a/b", "r", 21 << 20),))), "too_large", "/attachment_ids"),
        (mail(content=replace(LINK, attachments=(Attachment("f", "f", "a/b", "r", 1),) * 11)), "too_large", "/attachment_ids"),
    ],
)
def test_bad_input_is_named(command: RequestNotice, code: str, pointer: str) -> None:
    given(NOTICE).when(command).refused(code, pointer)


def test_the_feed_belongs_to_employees() -> None:
    given(NOTICE).when(mail(channel="in_app")).refused("recipient_missing")


def test_who_does_not_want_to_be_told_is_not() -> None:
    command = mail(channel="in_app", recipient=ANNA, content=PAID, importance="internal", suppressed="preference_off")
    state = given(NOTICE).when(command).then(in_feed(suppressed="preference_off"), NoticeSuppressed("preference_off", NOW, RULE))
    assert state.status == "suppressed"


# what came of it


def test_accepted() -> None:
    state = given(NOTICE, asked()).when(RecordSent(1, NOW, 3, "<request@mail.test>")).then(sent(3))
    assert (state.status, state.attempts) == ("sent", 3)


def test_refused_for_good_and_tried_again_by_a_person() -> None:
    given(NOTICE, asked()).when(RecordFailed(1, NOW, 1, "refused_by_server", "550 no such user")).then(FAILED)
    state = given(NOTICE, asked(), FAILED).when(RetryNotice(NOW)).then(NoticeQueued(2, LINK, NOW))
    assert state.status == "sending"


def test_an_outcome_of_an_earlier_round_means_nothing() -> None:
    again = (asked(), FAILED, NoticeQueued(2, LINK, NOW))
    given(NOTICE, *again).when(RecordSent(1, NOW, 1, None)).nothing_happens()
    given(NOTICE, *again).when(RecordFailed(1, NOW, 1, "refused_by_server", "550")).nothing_happens()
    given(NOTICE, asked(), sent()).when(RecordUnknown(1, NOW, 1, "late")).nothing_happens()


def test_what_may_have_been_sent_waits_for_a_person() -> None:
    given(NOTICE, asked()).when(RecordUnknown(1, NOW, 1, "the sender stopped")).then(UNKNOWN)
    was_sent = ResolveNotice("sent", NOW, PERSON)
    given(NOTICE, asked(), UNKNOWN).when(was_sent).then(NoticeResolved(True, NOW), NoticeSent(NOW, 1, None, False, PERSON))
    again = ResolveNotice("send_again", NOW, PERSON)
    given(NOTICE, asked(), UNKNOWN).when(again).then(NoticeResolved(False, NOW), NoticeQueued(2, LINK, NOW))
    given(NOTICE, asked(), sent()).when(was_sent).refused("notice_over")


def test_what_an_operator_found_out_of_the_effect_ends_the_doubt() -> None:
    given(NOTICE, asked(), UNKNOWN).when(RecordSent(1, NOW, 1, "<request@mail.test>")).then(sent())
    given(NOTICE, asked(), UNKNOWN).when(RecordUnknown(1, NOW, 2, "again")).nothing_happens()
    given(NOTICE, asked(), UNKNOWN, NoticeQueued(2, LINK, NOW)).when(RecordSent(1, NOW, 1)).nothing_happens()


@pytest.mark.parametrize("command", [RetryNotice(NOW), ResolveNotice("sent", NOW, PERSON), ReadNotice(NOW)])
def test_an_unknown_notice_is_named_so(command: NoticeCommand) -> None:
    assert given(NOTICE).when(command).refused("notice_unknown").status == 404


# held


def test_held_until_its_time() -> None:
    held = asked(held_until=NOW + MINUTE)
    state = given(NOTICE).when(mail(held_until=NOW + MINUTE)).then(held)
    assert state.status == "held"
    given(NOTICE, held).when(ReleaseNotice(NOW)).nothing_happens()
    state = given(NOTICE, held).when(ReleaseNotice(NOW + MINUTE)).then(NoticeQueued(1, LINK, NOW + MINUTE))
    assert state.status == "sending"
    given(NOTICE, held).when(SuppressNotice("employee_left", NOW)).then(NoticeSuppressed("employee_left", NOW, RULE))


def test_a_time_that_has_passed_holds_nothing() -> None:
    assert given(NOTICE).when(mail(held_until=NOW)).state.status == "sending"


# windows


def test_what_comes_while_the_window_is_open_joins() -> None:
    feed = (in_feed(window=WINDOW), FEED_SENT)
    joined = NoticeJoined("Invoice RE-2 is paid.", 2, NOW + MINUTE / 2)
    state = given(NOTICE, *feed).when(JoinNotice("Invoice RE-2 is paid.", NOW + MINUTE / 2)).then(joined)
    assert (state.count, state.content.text) == (2, "Invoice RE-1 is paid.\n- Invoice RE-2 is paid.")


def test_a_notice_that_was_read_is_unread_again() -> None:
    past: list[NoticeEvent] = [in_feed(window=WINDOW), FEED_SENT, NoticeRead(NOW)]
    assert given(NOTICE, *past).when(JoinNotice("Another", NOW)).state.status == "sent"


def test_what_was_asked_twice_joins_once() -> None:
    again = JoinNotice("Another", NOW, "second")
    past: list[NoticeEvent] = [in_feed(window=WINDOW), FEED_SENT, NoticeJoined("Another", 2, NOW, "second")]
    given(NOTICE, *past).when(again).nothing_happens()
    given(NOTICE, *past).when(JoinNotice("Another", NOW, "request")).nothing_happens()


def test_after_the_window_nothing_joins() -> None:
    given(NOTICE, in_feed(window=WINDOW), FEED_SENT).when(JoinNotice("Another", NOW + MINUTE)).nothing_happens()
    given(NOTICE, in_feed(), FEED_SENT).when(JoinNotice("Another", NOW)).nothing_happens()
    given(NOTICE, asked(window=WINDOW), sent()).when(JoinNotice("Another", NOW)).nothing_happens()


def test_a_full_notice_still_counts() -> None:
    full = in_feed(window=WINDOW, content=Content("x" * 16_380))
    assert given(NOTICE, full, FEED_SENT).when(JoinNotice("Another", NOW)).state.count == 2


# the feed


def test_read_once() -> None:
    given(NOTICE, in_feed(), FEED_SENT).when(ReadNotice(NOW)).then(NoticeRead(NOW))
    given(NOTICE, in_feed(), FEED_SENT, NoticeRead(NOW)).when(ReadNotice(NOW)).nothing_happens()
    given(NOTICE, asked(), sent()).when(ReadNotice(NOW)).refused("notice_over")


# texts


def test_every_text_exists_in_both_languages_with_the_same_values() -> None:
    for what, languages in TEXTS.items():
        assert set(languages) == set(LANGUAGES), what
        names = [{name for _, name, _, _ in Formatter().parse(f"{s.title} {s.text}") if name} for s in languages.values()]
        assert names[0] == names[1], what


def test_a_text_is_said_in_the_language_asked_for_or_in_english() -> None:
    values = {"number": "RE-1", "title": "Roof\n2026", "amount": "100.00 EUR"}
    assert said("invoice_paid", "de-AT", **values).title == "Zahlung eingegangen"
    assert said("invoice_paid", "fr", **values).title == "Payment received"
    assert said("activity_yours", "en", name="Call\nPetra", local="x", zone="y").title == "Call Petra"
