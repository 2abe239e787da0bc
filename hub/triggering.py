"""From `[[triggers]]` to what the engine hosts: the object of each trigger, its rules, and the project's handler that it calls.

Everything that can be wrong with a trigger is found here, before anything is started, and named by the path of its key.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from hub.core.errors import ConfigError
from hub.core.ports import Handler, Scheduled
from hub.core.workflow import Env, WorkerEntrypoint
from hub.engine.context import TriggerSpec
from hub.engine.contracts import Contract, ModelContract, SchemaContract
from hub.engine.expressions import Expression
from hub.engine.rules import OnFault, Rules
from hub.flow_schema import NO_RULES
from hub.flows import flow_rules, shown
from hub.masking import HIDDEN, masked
from hub.mistakes import fields_of, mistake
from hub.plugins import calls, parse_options, trigger_class
from hub.project import load_object
from hub.schema import Settings, TriggerSettings

_GENERIC = ("filter", "filter_error", "key", "map", "schema")

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]  # runs a call beside the event loop


@dataclass(frozen=True, slots=True)
class Declared:
    """One trigger of the project, with nothing started. `calls` is the handler's name where it is bound to no workflow."""

    spec: TriggerSpec
    rules: Rules
    calls: str | None


def declared_triggers(settings: Settings, worker: type[WorkerEntrypoint] | None) -> list[Declared]:
    """Return all triggers of the project. Raises: ConfigError with the path of the key."""
    places = zip(settings.trigger_places, settings.triggers, strict=True)
    return [_declared(settings, each, place, worker) for place, each in places]


def rules_of(settings: Settings) -> dict[str, Rules]:
    """Return the rules of all triggers that start a workflow, by name, without loading their kinds. Raises: ConfigError."""
    places = zip(settings.trigger_places, settings.triggers, strict=True)
    return {each.name: _rules(settings, each, place, calls_handler=False) for place, each in places if each.workflow is not None}


def cancelled_by(settings: Settings, trigger: str) -> list[str]:
    """Return the workflows whose instances the events of a trigger may cancel."""
    return [workflow.name for workflow in settings.workflows if any(each.trigger == trigger for each in workflow.cancel_on)]


def hosted_triggers(
    declared: Sequence[Declared], worker: type[WorkerEntrypoint] | None, env: Callable[[], Env], in_thread: InThread
) -> list[TriggerSpec]:
    """Return what the engine hosts. `env` is asked anew for each call of a handler."""

    def spec(each: Declared) -> TriggerSpec:
        if each.calls is None or worker is None:
            return each.spec
        return each.spec._replace(handler=handler_of(worker, each.calls, env, in_thread))

    return [spec(each) for each in declared]


def handler_of(worker: type[WorkerEntrypoint], method: str, env: Callable[[], Env], in_thread: InThread) -> Handler:
    """Return a function that calls a method of the project's worker, in a new object each time; a synchronous one runs in a thread."""

    async def call(argument: Any) -> Any:
        bound = getattr(worker(None, env()), method)
        if inspect.iscoroutinefunction(bound):
            return await bound(argument)
        return await in_thread(lambda: bound(argument))

    return call


def _declared(settings: Settings, own: TriggerSettings, place: str, worker: type[WorkerEntrypoint] | None) -> Declared:
    kind = trigger_class(own.kind, place)
    config = parse_options(kind, own.options, place, beside=fields_of(TriggerSettings).keys() - {"options"})
    cancels = cancelled_by(settings, own.name)
    method = None if own.workflow is not None or cancels else _method(kind, own, place, worker)
    trigger = kind(config)
    spec = TriggerSpec(
        own.name,
        own.workflow,
        trigger,
        kind=own.kind,
        enabled=own.enabled,
        digest=_digest(own) if isinstance(trigger, Scheduled) else "",
        settings=_shown(own, config) | ({"cancels": cancels} if cancels else {}),
    )
    return Declared(spec, _rules(settings, own, place, calls_handler=method is not None), method)


def _method(kind: type[Any], own: TriggerSettings, place: str, worker: type[WorkerEntrypoint] | None) -> str:
    method = calls(kind)
    if method is None:
        raise mistake(f'a trigger of kind "{own.kind}" needs the workflow that it starts', f"{place}.workflow")
    if worker is None or not callable(getattr(worker, method, None)):
        signature = f"async def {method}(self, {_ARGUMENTS.get(method, 'event')})"
        raise mistake(
            f"without a workflow the trigger calls the project's handler, and there is none: write `{signature}` in a WorkerEntrypoint "
            "class, or name a workflow",
            f"{place}.workflow",
        )
    return method


_ARGUMENTS = {"queue": "batch", "scheduled": "controller"}


# ---- rules


def _rules(settings: Settings, own: TriggerSettings, place: str, *, calls_handler: bool) -> Rules:
    def compiled(key: str) -> Expression | None:
        text = getattr(own, key)
        return None if text is None else Expression.of_event(text, f"{place}.{key}")

    for key in _GENERIC:
        if calls_handler and key != "filter_error" and getattr(own, key) is not None:
            raise mistake("works on events that start a workflow; a handler decides by itself", f"{place}.{key}")
    if own.workflow is None and own.flow != NO_RULES:
        raise mistake("works on events that start a workflow; this trigger starts none", f"{place}.flow")
    return Rules(
        filter=compiled("filter"),
        filter_error=OnFault(own.filter_error),
        key=compiled("key"),
        map=compiled("map"),
        contract=None if own.schema is None else _contract(settings, own.schema, f"{place}.schema"),
        flow=flow_rules(own.flow, f"trigger/{own.name}", f"{place}.flow"),
    )


def _contract(settings: Settings, text: str, where: str) -> Contract:
    file, _, name = text.partition(":")
    if name and file.endswith(".py"):
        return ModelContract(load_object(settings.project, file, name, where), text, where)
    if not text.endswith(".json"):
        raise ConfigError(f'"{text}" is neither a JSON Schema such as order.schema.json nor a model such as models.py:Order', path=where)
    return SchemaContract(settings.project / text, where)


# ---- what is kept of the settings


def _digest(own: TriggerSettings) -> str:
    """Return what tells a changed schedule from an unchanged one; one that was disabled in between is a changed one."""
    told = json.dumps([own.kind, own.options, own.enabled], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _shown(own: TriggerSettings, config: Any) -> dict[str, Any]:
    """Return the settings as operators may see them: without secrets, and only those that are given."""
    generic = {key: getattr(own, key) for key in _GENERIC if getattr(own, key) not in (None, "accept")}
    if own.flow != NO_RULES:
        generic["flow"] = shown(own.flow)
    secret = {key for key, value in own.options.items() if isinstance(getattr(config, key, None), SecretStr) and "://" not in str(value)}
    return generic | {key: HIDDEN if key in secret else masked(key, value) for key, value in own.options.items()}
