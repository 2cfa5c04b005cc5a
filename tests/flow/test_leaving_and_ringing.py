"""A stage change and a timer at the same instant, 10,000 times: never an effect asked after the stay (D1, capability 13).

The visit of automation and the timer of scheduler, both pure, and between them what they say to each other: a lane a topic. A
lane keeps its order and may repeat itself; which lane speaks next is left to a seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from services.automation.domain import visit as vis
from services.automation.domain.action import ASKED, NoticeAsked
from services.automation.domain.timing import instant
from services.automation.domain.visit import VISIT, Visit
from services.scheduler.domain import timer as tim
from services.scheduler.domain.due import Calendars
from services.scheduler.domain.timer import TIMER, Timer
from services.scheduler.subscriptions import when_of
from shared.contracts import common
from shared.es.errors import Rejected
from tests.unit.automation.made import NOW, arrive, known, rule, rule_id

SEEDS = 10_000
DUE = NOW + timedelta(hours=1)
AFTER_AN_HOUR = {"after": "arrival", "offset": "1h"}
RULES = (rule("delayed", timing=AFTER_AN_HOUR), rule("below", execution="after_previous"))
ARRIVED: Sequence[Any] = VISIT.decide(VISIT.initial, arrive(*RULES))
ASKED_TIMER: vis.TimerAsked = next(event for event in ARRIVED if isinstance(event, vis.TimerAsked))
SET = tim.SetTimer("run", "automation", "deal", when_of(common.When(**ASKED_TIMER.when)), Calendars(), NOW)
LATER = known(DUE)
Word = Callable[[], None]


@dataclass(eq=False)
class Meeting:
    """Everything at one instant: the hour is over, and somebody moves the deal."""

    seed: int
    visit: Visit = field(default_factory=lambda: VISIT.fold(ARRIVED))
    timer: Timer = field(default_factory=lambda: TIMER.fold(TIMER.decide(TIMER.initial, SET)))
    events: list[Any] = field(default_factory=list)
    lanes: dict[str, list[Word]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._luck = random.Random(self.seed)

    def say(self, lane: str, word: Word) -> None:
        """Every third message comes twice, the second time behind whatever the lane holds by then."""
        self.lanes.setdefault(lane, []).append(word)
        if self._luck.random() < 1 / 3:
            self.lanes[lane].append(word)

    def play(self) -> None:
        armed = self.timer.must_be_armed()
        self.say("scheduler.events", lambda: self.ask(vis.TimerWasSet(ASKED_TIMER.timer_id, instant(armed.due.due_at), ())))
        self.say("clock", lambda: self.ring(tim.Fire(DUE, Calendars())))
        self.say("deals.events", lambda: self.ask(vis.Leave("stage_left", LATER)))
        while self.lanes:
            lane = self._luck.choice(list(self.lanes))
            word = self.lanes[lane].pop(0)
            if not self.lanes[lane]:
                del self.lanes[lane]
            word()

    # ---- automation

    def ask(self, command: Any) -> None:
        for event in VISIT.decide(self.visit, command):
            self.visit = VISIT.evolve(self.visit, event)
            self.events.append(event)
            self._heard(event)

    def _heard(self, event: Any) -> None:
        match event:
            case vis.TimerDropped():
                self.say("scheduler.commands", lambda: self.ring(tim.CancelTimer(f"cancel/{event.timer_id}", event.reason)))
            case NoticeAsked():
                self.say("notifications.events", lambda: self.ask(vis.Answered(event.request_id, {}, LATER)))

    # ---- scheduler

    def ring(self, command: Any) -> None:
        try:
            events = TIMER.decide(self.timer, command)
        except Rejected:
            return
        for event in events:
            self.timer = TIMER.evolve(self.timer, event)
            if isinstance(event, tim.TimerFired):
                self.say("scheduler.events", lambda: self.ask(vis.TimerRang(ASKED_TIMER.timer_id, 0, LATER)))
            if isinstance(event, tim.TimerCancelled):
                self.say("scheduler.events", lambda: self.ask(vis.TimerWasCancelled(ASKED_TIMER.timer_id, LATER)))

    # ---- what came of it

    def must_hold(self) -> str:
        """Raises AssertionError when an effect was asked after the stay, or twice, or a run is neither asked nor cancelled."""
        left = next(n for n, event in enumerate(self.events) if isinstance(event, vis.Left))
        asked = [n for n, event in enumerate(self.events) if isinstance(event, ASKED)]
        assert all(n < left for n in asked), f"seed {self.seed}: asked after the stay: {self.events}"
        assert self.timer.status in ("fired", "cancelled"), f"seed {self.seed}: {self.timer.status}"
        return "/".join(self._end(key, asked) for key in ("delayed", "below"))

    def _end(self, key: str, asked: list[int]) -> str:
        run = self.visit.run(rule_id(key))
        assert run is not None
        steps = sum(1 for n in asked if self.events[n].rule_id == run.rule_id)
        end = (run.state, run.reason, steps)
        assert end in (("succeeded", None, 1), ("cancelled", "stage_left", 0)), f"seed {self.seed}: {key} is {end}: {self.events}"
        return run.state


def test_an_effect_is_asked_before_the_stay_ends_or_never() -> None:
    ends: Counter[str] = Counter()
    for seed in range(SEEDS):
        meeting = Meeting(seed)
        meeting.play()
        ends[meeting.must_hold()] += 1

    assert set(ends) == {"succeeded/succeeded", "succeeded/cancelled", "cancelled/cancelled"}
    assert min(ends.values()) > SEEDS / 100, f"an order that hardly ever happened shows nothing: {ends}"
