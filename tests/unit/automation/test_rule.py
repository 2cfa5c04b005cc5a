"""A rule's and a trigger's life: drafts, versions, on and off, gone (automation 2.1, 2.2)."""

from __future__ import annotations

from typing import Any

from services.automation.domain import rule as rul
from services.automation.domain import trigger as tri
from services.automation.domain.rule import RULE
from services.automation.domain.trigger import TRIGGER
from shared.es.errors import Fault
from shared.testing.given import given

DRAFT = {"id": "link", "type": "create_payment_link"}
COMPLETE = {**DRAFT, "name": "Create payment link"}
DRAFTED = rul.RuleDrafted("deal", "sales", "won", 0, DRAFT, "olaf")
PUBLISHED = rul.RulePublished(1, COMPLETE, {})
NEW = rul.DraftRule("deal", "sales", "won", 0, DRAFT, "olaf")


def publish(definition: Any = COMPLETE, references: Any = None, **own: Any) -> rul.PublishRule:
    return rul.PublishRule(definition, references or {}, **own)


def test_a_draft_is_drafted_once() -> None:
    given(RULE).when(NEW).then(DRAFTED)
    given(RULE, DRAFTED).when(NEW).nothing_happens()
    given(RULE, DRAFTED).when(rul.DraftRule("deal", "sales", "lost", 0, DRAFT, "olaf")).refused("id_taken")
    given(RULE, DRAFTED, rul.RuleDeleted()).when(NEW).refused("id_taken")


def test_publishing_counts_versions() -> None:
    state = given(RULE, DRAFTED).when(publish()).then(PUBLISHED)
    assert (state.state, state.version, state.draft, state.is_in_force) == ("published", 1, None, True)
    given(RULE, DRAFTED, PUBLISHED).when(publish({**COMPLETE, "name": "x"}, waiting="cancel")).then(
        rul.RulePublished(2, {**COMPLETE, "name": "x"}, {}, "cancel")
    )


def test_an_invalid_draft_is_refused_with_all_its_faults() -> None:
    faults = (Fault("#/a", "bad_code", "x"), Fault("#/b", "wrong_type", "y"))
    given(RULE, DRAFTED).when(publish(faults=faults)).refused("rule_invalid", "#/a", "#/b")


def test_the_same_version_is_not_published_twice() -> None:
    given(RULE, DRAFTED, PUBLISHED).when(publish()).refused("nothing_to_change")


def test_a_draft_beside_the_published_version() -> None:
    edited = given(RULE, DRAFTED, PUBLISHED).when(rul.EditRule({**COMPLETE, "name": "x"}))
    state = edited.then(rul.RuleEdited({**COMPLETE, "name": "x"}, "olaf"))
    assert (state.latest["name"], state.definition) == ("x", COMPLETE)
    given(RULE, DRAFTED, PUBLISHED).when(rul.EditRule(COMPLETE)).nothing_happens()


def test_on_and_off() -> None:
    off = rul.RuleDisabled(True, "r")
    given(RULE, DRAFTED, PUBLISHED).when(rul.DisableRule(True, "r")).then(off)
    given(RULE, DRAFTED).when(rul.DisableRule()).refused("rule_not_published")
    given(RULE, DRAFTED, PUBLISHED, off).when(rul.EnableRule()).then(rul.RuleEnabled())
    given(RULE, DRAFTED, PUBLISHED).when(rul.EnableRule()).refused("rule_not_disabled")


def test_a_deleted_rule_takes_no_change_and_is_deleted_once() -> None:
    gone = given(RULE, DRAFTED, PUBLISHED, rul.RuleDeleted())
    gone.when(rul.DeleteRule()).nothing_happens()
    for command in (rul.EnableRule(), rul.EditRule({}), publish(), rul.MoveRule(3)):
        gone.when(command).refused("rule_deleted")
    assert gone.state.definition == COMPLETE


def test_an_unknown_rule_is_not_found() -> None:
    given(RULE).when(rul.DeleteRule()).refused("not_found")
    given(RULE).when(rul.InvalidateRule("target_missing", "x")).nothing_happens()


def test_a_rule_is_invalid_until_it_is_published_anew() -> None:
    broken = rul.RuleInvalidated("target_missing", "gone")
    invalid = given(RULE, DRAFTED, PUBLISHED).when(rul.InvalidateRule("target_missing", "gone"))
    assert not invalid.then(broken).is_in_force
    given(RULE, DRAFTED, PUBLISHED, broken).when(rul.InvalidateRule("target_missing", "gone")).nothing_happens()
    assert given(RULE, DRAFTED, PUBLISHED, broken).when(publish()).state.is_in_force


def test_moving_is_no_version() -> None:
    state = given(RULE, DRAFTED, PUBLISHED).when(rul.MoveRule(3)).then(rul.RuleMoved(3))
    assert (state.position, state.version) == (3, 1)
    given(RULE, DRAFTED, PUBLISHED, rul.RuleMoved(3)).when(rul.MoveRule(3)).nothing_happens()


# ------------------------------------------------------------------------------------------------ triggers

T_DRAFTED = tri.TriggerDrafted("deal", "sales", "won", 0, {"id": "paid"}, "olaf")
T_PUBLISHED = tri.TriggerPublished(1, {"id": "paid", "type": "invoice_paid"}, {})


def test_a_trigger_lives_like_a_rule() -> None:
    given(TRIGGER).when(tri.DraftTrigger("deal", "sales", "won", 0, {"id": "paid"}, "olaf")).then(T_DRAFTED)
    given(TRIGGER, T_DRAFTED).when(tri.PublishTrigger(T_PUBLISHED.definition, {})).then(T_PUBLISHED)
    given(TRIGGER, T_DRAFTED, T_PUBLISHED).when(tri.PublishTrigger(T_PUBLISHED.definition, {})).refused("nothing_to_change")
    given(TRIGGER, T_DRAFTED).when(tri.PublishTrigger({}, {}, (Fault("#/id", "bad_code", "x"),))).refused("rule_invalid", "#/id")
    given(TRIGGER, T_DRAFTED, T_PUBLISHED).when(tri.DisableTrigger()).then(tri.TriggerDisabled())
    given(TRIGGER, T_DRAFTED).when(tri.DisableTrigger()).refused("trigger_not_published")
    given(TRIGGER, T_DRAFTED, T_PUBLISHED, tri.TriggerDisabled()).when(tri.EnableTrigger()).then(tri.TriggerEnabled())
    given(TRIGGER, T_DRAFTED, T_PUBLISHED).when(tri.EnableTrigger()).refused("trigger_not_disabled")
    given(TRIGGER, T_DRAFTED, T_PUBLISHED).when(tri.MoveTrigger(2)).then(tri.TriggerMoved(2))
    given(TRIGGER, T_DRAFTED).when(tri.EditTrigger({"id": "x"})).then(tri.TriggerEdited({"id": "x"}, "olaf"))
    given(TRIGGER, T_DRAFTED, tri.TriggerDeleted()).when(tri.EnableTrigger()).refused("trigger_deleted")
    given(TRIGGER, T_DRAFTED, tri.TriggerDeleted()).when(tri.DeleteTrigger()).nothing_happens()
    given(TRIGGER).when(tri.DeleteTrigger()).refused("not_found")


def test_an_invalid_trigger_is_not_in_force() -> None:
    done = given(TRIGGER, T_DRAFTED, T_PUBLISHED).when(tri.InvalidateTrigger("target_missing", "x"))
    assert not done.then(tri.TriggerInvalidated("target_missing", "x")).is_in_force
    given(TRIGGER, T_DRAFTED).when(tri.InvalidateTrigger("target_missing", "x")).nothing_happens()
