"""The tables of hub.toml. Owns every setting: its key, type, default, range and meaning.

Never reads a file or the environment. Values are frozen and already checked: whoever holds a `Settings` need not check again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, SecretStr

from hub.core.access import Auth
from hub.core.audit import AUDIT_KEPT
from hub.core.duration import format_duration
from hub.core.model import FOR_EVER, Backoff, Retention
from hub.core.queue import LONGEST_DELAY
from hub.core.queues import KEPT
from hub.core.retention import DELIVERY_KEPT, FOREVER, RetentionWish
from hub.flow_schema import NO_RULES, CancelSettings, FlowSettings
from hub.mistakes import fields_of
from hub.node_schema import NodeSettings
from hub.store_schema import StoreSettings
from hub.values import (
    A_MOMENT,
    COMMA_LIST,
    MIB_25,
    NOT_BOOL,
    ONE_OR_LIST,
    STRICT,
    Duration,
    HostName,
    Identifier,
    Keep,
    Name,
    QueueName,
    Seconds,
    between,
    one_or_list,
)

REFERENCE = re.compile(r"\$?\$\{([^}]*)\}")  # ${NAME}; $${NAME} stands for the text itself
MAX_STEPS = 25_000  # a journal of that length is read whole whenever its instance wakes up
_1_TIB = 1 << 40
_OPEN = SecretStr("")


# ---- the tables


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSettings:
    """How long the instances of one workflow are kept; an absent key means what `[retention]` says."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    success_retention: Annotated[Keep | None, Field(description="How long complete instances are kept.")] = None
    error_retention: Annotated[Keep | None, Field(description="How long errored and terminated instances are kept.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowLimits:
    """How far the instances of one workflow may go; an absent key means what `[limits]` says."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    steps: Annotated[
        int | None, Field(ge=1, le=MAX_STEPS, description="Steps of one instance; only step.do counts."), NOT_BOOL
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSettings:
    """One `[[workflows]]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Annotated[Name, Field(description="Name of the workflow, for clients and triggers.")]
    class_name: Annotated[Identifier, Field(description="The WorkflowEntrypoint class in `main`.")]
    binding: Annotated[Identifier | None, Field(description="The workflow is self.env.BINDING.")] = None
    schedules: Annotated[
        tuple[str, ...],
        ONE_OR_LIST,
        Field(description="Cron expressions in UTC; each becomes a cron trigger.", json_schema_extra=one_or_list),
    ] = ()
    limits: Annotated[WorkflowLimits, Field(description="How far its instances may go; else as [limits] says.")] = field(
        default_factory=WorkflowLimits
    )
    default_retention: Annotated[
        KeepSettings, Field(description="How long its instances are kept after their end; else as [retention] says.")
    ] = field(default_factory=KeepSettings)
    flow: Annotated[FlowSettings, Field(description="How many of its instances are created and executed when.")] = NO_RULES
    cancel_on: Annotated[tuple[CancelSettings, ...], Field(description="Which events terminate which of its instances.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """One `[[triggers]]` table. `options` are the keys of the trigger kind's own Config."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Annotated[str, Field(description="An installed kind of trigger, or package.module:Class.")]
    name: Annotated[Name, Field(description="Unique name; default KIND-WORKFLOW.")]
    workflow: Annotated[
        str | None, Field(description="Workflow that it starts; without one, amqp and queue call the handler queue, cron scheduled.")
    ] = None
    enabled: Annotated[bool, Field(description="false: it is not started; the address of a webhook answers 404.")] = True
    filter: Annotated[str | None, Field(min_length=1, description="JMESPath; only events for which it is true create an instance.")] = None
    filter_error: Annotated[Literal["accept", "reject"], Field(description="What a filter that fails does with the event.")] = "accept"
    key: Annotated[str | None, Field(min_length=1, description="JMESPath; an event whose key was seen before is a duplicate.")] = None
    map: Annotated[str | None, Field(min_length=1, description="JMESPath; its value becomes the payload.")] = None
    schema: Annotated[
        str | None, Field(min_length=1, description="What the payload must look like: FILE.json, a JSON Schema, or FILE.py:MODEL.")
    ] = None
    flow: Annotated[FlowSettings, Field(description="Flow control for its events, over that of the workflow, rule by rule.")] = NO_RULES
    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """One `[[queues.producers]]` table: a queue of the hub, as wrangler's settings have it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    binding: Annotated[Identifier, Field(description="The queue is self.env.BINDING.")]
    queue: Annotated[QueueName, Field(description="The queue of the hub that it sends into; it is made when the hub starts.")]
    delivery_delay: Annotated[
        Seconds, between(timedelta(0), LONGEST_DELAY), Field(description="Wait before a message is delivered; a number is seconds.")
    ] = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """One `[[queues.consumers]]` table, as in wrangler's settings: a trigger of kind queue without workflow. `options` are its keys."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The `[queues]` table: queues that lie in the database of the hub."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    producers: Annotated[tuple[ProducerSettings, ...], Field(description="Queues that the code sends into.")] = ()
    consumers: Annotated[tuple[ConsumerSettings, ...], Field(description="Queues whose messages the handler queue(batch) gets.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """One `[[connectors]]` table. `options` are the keys of the connector kind's own Config."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Annotated[str, Field(description="An installed kind of connector, or package.module:Class.")]
    binding: Annotated[Identifier, Field(description="The connector is self.env.BINDING.")]
    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The `[server]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    host: Annotated[str, Field(min_length=1, description="Address to listen on; one that others can reach needs a token.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one."), NOT_BOOL] = 8787
    token: Annotated[SecretStr, Field(description="A token that may everything, beside those of `hub tokens create`.")] = _OPEN
    auth: Annotated[
        Auth, Field(description="auto: a token is needed as soon as there is one; required: always; off: never, for this machine only.")
    ] = Auth.AUTO
    hosts: Annotated[
        tuple[HostName, ...],
        COMMA_LIST,
        Field(description="Further names in the address of the API and the dashboard, such as that of your proxy."),
    ] = ()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False  # a name may lead anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """The `[runner]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    slots: Annotated[int, Field(ge=1, le=100_000, description="Instances that this node executes at once."), NOT_BOOL] = 1000
    threads: Annotated[int, Field(ge=1, le=1000, description="Threads for synchronous step bodies."), NOT_BOOL] = 32
    grace: Annotated[Duration, Field(description="How long running steps may go on when the hub stops.")] = timedelta(seconds=10)
    resident: Annotated[Duration, Field(description="Shorter waits keep the instance in memory.")] = timedelta(seconds=1)
    lease: Annotated[
        Duration,
        between(timedelta(seconds=1), timedelta(minutes=10)),
        Field(description="A node that is silent for so long loses its instances to the others."),
    ] = timedelta(seconds=10)
    max_recoveries: Annotated[
        int, Field(ge=0, le=1_000_000, description="An instance whose process dies more often than that is ended as errored."), NOT_BOOL
    ] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """The `[steps]` table: what `step.do` does when the author says nothing else."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    retry_limit: Annotated[int, Field(ge=0, le=10_000, description="Attempts after the first one."), NOT_BOOL] = 5
    retry_delay: Annotated[Duration, Field(description="Wait before the second attempt.")] = timedelta(seconds=10)
    retry_backoff: Annotated[Backoff, Field(description="How the wait grows.")] = Backoff.EXPONENTIAL
    timeout: Annotated[Duration, between(A_MOMENT), Field(description="Longest time of one attempt.")] = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """The `[limits]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    payload_bytes: Annotated[
        int, Field(ge=1, le=MIB_25, description="Largest payload of an instance or event, as JSON."), NOT_BOOL
    ] = 1_048_576
    result_bytes: Annotated[int, Field(ge=1, le=MIB_25, description="Largest result of a step or run, as JSON."), NOT_BOOL] = 1_048_576
    state_bytes: Annotated[
        int, Field(ge=1, le=_1_TIB, description="Largest sum of all results of one instance, as JSON."), NOT_BOOL
    ] = 1_073_741_824
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS, description="Steps of one instance; only step.do counts."), NOT_BOOL] = 10_000
    log_lines: Annotated[
        int, Field(ge=0, le=100_000, description="Lines that one attempt of a step logs; 0 = logs are not kept."), NOT_BOOL
    ] = 200
    log_line_bytes: Annotated[
        int, Field(ge=16, le=1_048_576, description="Longest line of a log; the rest of it is cut off."), NOT_BOOL
    ] = 8192
    log_attempt_bytes: Annotated[int, Field(ge=16, le=MIB_25, description="All lines of one attempt."), NOT_BOOL] = 65_536
    log_instance_bytes: Annotated[int, Field(ge=16, le=_1_TIB, description="All lines of one instance."), NOT_BOOL] = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """The `[retention]` table: how long instances are kept after their end, and stored deliveries after they came."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    success: Annotated[Keep, Field(description="Complete instances.")] = timedelta.max
    error: Annotated[Keep, Field(description="Errored and terminated instances.")] = timedelta.max
    deliveries: Annotated[Keep, Field(description="Deliveries that created nothing; held ones are kept until they do.")] = DELIVERY_KEPT
    messages: Annotated[Keep, Field(description="Messages that wait in queues of the hub; older ones are deleted.")] = KEPT
    audit: Annotated[Keep, Field(description="Entries of the audit log.")] = AUDIT_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The `[log]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="The least serious line that is written.")] = "info"
    format: Annotated[Literal["auto", "pretty", "json"], Field(description="auto = pretty on a terminal, else json.")] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. `data` and `project` are absolute; `vars` lacks only the hub's own address."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    project: Path
    name: Annotated[Name, Field(description="Name of the project.")]
    main: Annotated[str, Field(min_length=1, description="Python file with the classes, relative to the project.")]
    account: Annotated[Name, Field(description="The account in the paths of the REST API.")] = "local"
    data: Annotated[Path, Field(description="Folder of the SQLite file, relative to the project.")] = Path(".hub")
    vars: Annotated[dict[Identifier, Any], Field(description="Values on self.env; ${NAME} is an environment variable.")] = field(
        default_factory=dict, repr=False
    )
    workflows: tuple[WorkflowSettings, ...] = ()
    triggers: tuple[TriggerSettings, ...] = ()
    connectors: tuple[ConnectorSettings, ...] = ()
    queues: QueueSettings = field(default_factory=QueueSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    store: StoreSettings
    node: NodeSettings = field(default_factory=NodeSettings)
    runner: RunnerSettings = field(default_factory=RunnerSettings)
    steps: StepSettings = field(default_factory=StepSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def retention_of(self, workflow: WorkflowSettings) -> Retention:
        """Return how long the instances of a workflow are kept: what it says itself, else what `[retention]` says."""
        own, common = workflow.default_retention, RetentionWish(success=self.retention.success, error=self.retention.error)
        return RetentionWish(success=own.success_retention, error=own.error_retention).over(common.over(FOR_EVER))

    def steps_of(self, workflow: WorkflowSettings) -> int:
        """Return how many steps an instance of a workflow may have: what it says itself, else what `[limits]` says."""
        own = workflow.limits.steps
        return self.limits.steps if own is None else own

    @property
    def deliveries_kept(self) -> timedelta | None:
        """How long stored deliveries are kept; None = for ever."""
        return None if self.retention.deliveries == timedelta.max else self.retention.deliveries

    @property
    def audit_kept(self) -> timedelta | None:
        """How long entries of the audit log are kept; None = for ever."""
        return None if self.retention.audit == timedelta.max else self.retention.audit

    @property
    def messages_kept(self) -> timedelta | None:
        """How long messages are kept in queues of the hub; None = for ever."""
        return None if self.retention.messages == timedelta.max else self.retention.messages

    @property
    def trigger_places(self) -> tuple[str, ...]:
        """Where each trigger stands in the file: in its own table, in the schedules of its workflow, or among the consumers of queues."""
        others = [f"workflows.{n}.schedules" for n, workflow in enumerate(self.workflows) for _ in workflow.schedules]
        others += [f"queues.consumers.{n}" for n in range(len(self.queues.consumers))]
        return (*(f"triggers.{n}" for n in range(len(self.triggers) - len(others))), *others)

    def expanded_vars(self, hub_url: str) -> dict[str, Any]:
        """Return `vars` with the hub's own address filled in."""

        def replace(match: re.Match[str]) -> str:
            return match[0][1:] if match[0].startswith("$$") else hub_url

        return {name: each_text(value, lambda text: REFERENCE.sub(replace, text)) for name, value in self.vars.items()}


TABLES: dict[str, type] = {
    "server": ServerSettings,
    "store": StoreSettings,
    "node": NodeSettings,
    "runner": RunnerSettings,
    "steps": StepSettings,
    "limits": LimitSettings,
    "retention": RetentionSettings,
    "log": LogSettings,
}


@cache
def variables() -> dict[str, tuple[str, ...]]:
    """Return the environment variables that set something, each with the path of its key."""
    plain: dict[str, tuple[str, ...]] = {f"HUB_{key.upper()}": (key,) for key in ("name", "main", "account", "data")}
    return plain | {f"HUB_{table}_{key}".upper(): (table, key) for table, schema in TABLES.items() for key in fields_of(schema)}


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of a value of the file with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: each_text(item, change) for key, item in value.items()}
    return [each_text(item, change) for item in value] if isinstance(value, list) else value


def file_form(value: Any) -> Any:
    """Return a default as one would write it in the file."""
    if value == timedelta.max:
        return FOREVER
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return [file_form(item) for item in value]
    return str(value) if isinstance(value, Path | str) else value
