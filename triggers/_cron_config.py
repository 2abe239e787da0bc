"""The keys of a `cron` trigger. Owns which of them go together; what they mean stands in the modules that follow them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo, WithJsonSchema, field_validator

from hub.core.duration import format_duration
from hub.core.flow import Overlap
from triggers._calendar import Gap, Repeat, Spread, check_timezone, read_spread
from triggers._catch_up import ON_TIME, CatchUp
from triggers._durations import Duration
from triggers._expression import parse, spaced

_LONGEST_WAIT = timedelta(days=366)


_SPREAD_SCHEMA = {"type": ["string", "number"], "examples": ["30 minutes", "50%"]}
SpreadText = Annotated[Spread, BeforeValidator(read_spread), WithJsonSchema(_SPREAD_SCHEMA)]


class CronConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "cron"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: bool = Field(default=False, description="The expression has six fields, the second first.")
    days: Literal["either", "both"] = Field(
        default="either", description="Where the day of the month and that of the week are given: either is enough, or both must fit."
    )
    phase: Duration = Field(default=timedelta(0), description="Shifts the times of @every, which are counted from 1970-01-01T00:00Z.")
    cron: str = Field(
        description="Five fields: minute, hour, day of the month, month, day of the week (0 or 7 = Sunday); or @daily, @every 15m, …"
    )
    timezone: str = Field(default="UTC", description="IANA name of the zone whose wall clock the expression is read on.")
    dst_gap: Gap = Field(
        default=Gap.RUN_AFTER, description="A fixed time that the clock skips in spring runs at once after the gap, or is skipped."
    )
    dst_overlap: Repeat = Field(
        default=Repeat.FIRST, description="A fixed time that comes twice in autumn runs at the first of the two, at both, or at the last."
    )
    spread: SpreadText | None = Field(
        default=None, description="Starts are spread over so much time, or over a share of the time until the next occurrence."
    )
    catch_up: CatchUp = Field(default=CatchUp.LAST, description="Which occurrences are made up that passed while nobody could run them.")
    catch_up_window: Duration = Field(
        default=timedelta(hours=24), description="After so long an occurrence is neither made up nor tried again."
    )
    catch_up_max: int = Field(default=100, ge=1, le=10_000, description="At most so many are made up; more that are missed share one row.")
    overlap: Overlap | None = Field(
        default=None,
        description="While an earlier instance of the trigger has not ended; default as its flow says, else skip, or queue_all where "
        "`catch_up` is all; of a handler allow.",
    )
    payload: JsonValue = Field(default_factory=dict, description="The payload of every instance.")

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, cron: str, info: ValidationInfo) -> str:
        given = info.data
        if "phase" in given:  # else it is faulty itself
            parse(cron, seconds=given.get("seconds", False), both=given.get("days") == "both", phase=given["phase"])
        return spaced(cron)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str, info: ValidationInfo) -> str:
        if name != "UTC" and info.data.get("cron", "").lower().startswith("@every"):
            raise ValueError("@every counts elapsed time, which is the same in all zones; leave the time zone out")
        return check_timezone(name).key

    @field_validator("catch_up_window")
    @classmethod
    def _check_window(cls, window: timedelta) -> timedelta:
        if not ON_TIME <= window <= _LONGEST_WAIT:
            raise ValueError(f"must be at least {format_duration(ON_TIME)} and at most {_LONGEST_WAIT.days} days")
        return window
