"""The JSON face of reminders and jobs."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from agent_image.runner import checked
from agent_image.runner.schedules import wishes
from appliance.core.errors import BadInput
from appliance.core.schedules import Missed, Schedule, Schedules, Wish, uuid_of

Service = NamedDependency[SkipValidation[Schedules]]


class NewSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /schedules: `at` (with its offset) for a reminder, `cron` for a job. The same `id` twice is one."""

    conversation: str
    text: str
    at: datetime | None = None
    cron: str = ""
    time_zone: str = ""
    missed: Missed = "once"
    id: str = ""


class ScheduleApi(Controller):
    """Reminders and jobs as JSON under /api/v1."""

    path = "/api/v1/schedules"
    tags = ("schedules",)

    @get(operation_id="list_schedules")
    async def listing(self, request: Request[Any, Any, Any], schedules: Service) -> list[Schedule]:
        """Your reminders and jobs that are still to come, the next one first."""
        return await schedules.listing(request.user)

    @post(operation_id="create_schedule")
    async def create(self, request: Request[Any, Any, Any], schedules: Service, data: NewSchedule) -> Schedule:
        """Set a reminder or a job; once you have the answer it is committed."""
        wish = _wish(data, data.time_zone or schedules.time_zone)
        id_ = uuid_of(data.id) if data.id else str(uuid4())
        return await schedules.create(request.user, data.conversation, wish, id_=id_)

    @delete("/{schedule:str}", operation_id="cancel_schedule")
    async def cancel(self, request: Request[Any, Any, Any], schedules: Service, schedule: str) -> None:
        """Cancel one; a run that has begun goes on."""
        await schedules.cancel(request.user, id_=schedule)


def _wish(data: NewSchedule, time_zone: str) -> Wish:
    text, now = checked.text_of(data.text), datetime.now(UTC)
    if (data.at is None) == (not data.cron):
        raise BadInput('Send either "at": "2026-12-01T09:00:00+01:00" or "cron": "0 8 * * 1-5".')
    if data.at is None:
        return wishes.job(text, data.cron, time_zone, missed=data.missed, now=now)
    if data.at.tzinfo is None:
        raise BadInput('Say which time zone "at" is meant in: "2026-12-01T09:00:00+01:00", or "…Z" for UTC.')
    return wishes.reminder(text, data.at, time_zone, now=now - wishes.SENT_AGAIN)
