"""One handler per aggregate: what it says and the views it keeps."""

from __future__ import annotations

from typing import Any

from services.scheduler import publications, views
from services.scheduler.domain.activity import ACTIVITY
from services.scheduler.domain.calendar import CALENDAR
from services.scheduler.domain.rehearsal import REHEARSAL
from services.scheduler.domain.room import ROOM
from services.scheduler.domain.timer import TIMER
from shared.messaging.handler import Handler

HANDLERS: tuple[Handler[Any, Any, Any], ...] = (
    Handler(TIMER, publications.of_timer, (views.TIMERS, views.LATENESS)),
    Handler(CALENDAR, publications.of_calendar, (views.CALENDARS,)),
    Handler(ACTIVITY, publications.of_activity, (views.ACTIVITIES,)),
    Handler(REHEARSAL, publications.of_rehearsal, (views.CLOCKS,)),
    Handler(ROOM, publications.of_room, (views.ROOMS, views.BOOKINGS)),
)
