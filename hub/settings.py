"""Reading the settings: hub.toml, environment variables and flags become one frozen `Settings`.

Owns the order in which sources win (flag, then variable, then file) and the rules that hold between settings. Never reads a setting later
than at the start, and never writes one. A key that nothing reads is an error, so that a misspelt setting cannot be ignored in silence.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from hub.core.access import Auth
from hub.core.errors import ConfigError
from hub.flow_schema import NO_RULES, conflict
from hub.mistakes import Location, fields_of, from_validation, mistake, nearest
from hub.node_schema import NodeSettings
from hub.schema import (
    REFERENCE,
    TABLES,
    ConnectorSettings,
    KeepSettings,
    LimitSettings,
    LogSettings,
    RetentionSettings,
    RunnerSettings,
    ServerSettings,
    Settings,
    StepSettings,
    TriggerSettings,
    WorkflowSettings,
    each_text,
    variables,
)
from hub.store_schema import StoreSettings, address_mistake

__all__ = [
    "ConnectorSettings",
    "KeepSettings",
    "LimitSettings",
    "LogSettings",
    "NodeSettings",
    "RetentionSettings",
    "RunnerSettings",
    "ServerSettings",
    "Settings",
    "StepSettings",
    "StoreSettings",
    "TriggerSettings",
    "WorkflowSettings",
    "load_settings",
]

FILE = "hub.toml"
_FLAGS = "command line"
_VARIABLES = "environment"
_OWN_ADDRESS = "HUB_URL"  # in [vars]: known only once the hub listens


def load_settings(project: Path, *, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of the project in a folder. `overrides` are flags: a nested mapping, None = not given.

    Raises: ConfigError with the source, the path of the key, what is wrong with it and the nearest valid name.
    """
    environment = os.environ if environ is None else environ
    file = str(project / FILE)
    sources = {_FLAGS: _given(overrides or {}), _VARIABLES: _from_environment(environment), file: _read_file(project / FILE)}
    merged = _complete(project, sources)
    try:
        settings = _adapter().validate_python(merged)
    except ValidationError as error:
        raise from_validation(error, Settings, origin=lambda location: _origin(sources, location)) from None
    settings = _expanded(_with_consumers(_with_schedules(settings)), environment, file)
    settings = replace(settings, store=replace(settings.store, url=_address(settings, environment, _origin(sources, ("store", "url")))))
    _check_names(settings, file)
    _check_node(settings, _origin(sources, ("node", "workflows")))
    _check_flows(settings, file)
    _check_door(settings, _origin(sources, ("server", "auth")))
    return settings


@cache
def _adapter() -> TypeAdapter[Settings]:
    return TypeAdapter(Settings)


# ---- the sources


def _read_file(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        folder = file.parent.resolve()
        missing = f"there is no {FILE} in {folder}" if folder.is_dir() else f"{folder} is not a folder"
        raise ConfigError(f"{missing}; name the folder of a project, or make one with `hub init NAME`") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    if "project" in tables:  # a field of Settings, not a key of the file
        raise mistake(f"unknown key; {nearest('project', fields_of(Settings).keys() - {'project'})}", "project", str(file))
    return tables


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the variables of single settings. An empty one counts as absent, as compose files leave them."""
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        path = variables().get(variable)
        if path is None:
            if variable.startswith(tuple(f"HUB_{table.upper()}_" for table in TABLES)):
                raise mistake(f"unknown environment variable; {nearest(variable, variables())}", variable)
        elif value:
            *tables, key = path
            table = found.setdefault(tables[0], {}) if tables else found
            table[key] = value
    return found


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _given(value) if isinstance(value, Mapping) else value for key, value in overrides.items() if value is not None}


def _origin(sources: Mapping[str, Mapping[str, Any]], location: Location) -> str:
    """Tell which source a key came from, the winning one first. A missing key belongs to the file, the last one."""
    for name, source in sources.items():
        value: Any = source
        for part in location[:2]:  # single settings lie no deeper; lists come from the file as a whole
            value = value.get(part) if isinstance(value, Mapping) else value
        if value is not None:
            return "_".join(["HUB", *map(str, location)]).upper() if name == _VARIABLES else name
    return [*sources][-1]


def _complete(project: Path, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the sources and fill in what depends on other settings."""
    flags, variables_, tables = sources.values()
    merged = _merged(_merged(tables, variables_), flags)
    data = merged.get("data", ".hub")
    if isinstance(data, str | Path):  # relative to the project where the file says so, else to the working folder
        folder = Path(data).expanduser()
        merged["data"] = folder.absolute() if "data" in flags or "data" in variables_ else project.resolve() / folder
        store = merged.get("store", {})
        merged["store"] = {"url": _own_file(merged["data"])} | store if isinstance(store, dict) else store
    for table, own in (("triggers", TriggerSettings), ("connectors", ConnectorSettings)):
        if isinstance(merged.get(table), list):
            merged[table] = [_with_options(item, own) for item in merged[table]]
    queues = merged.get("queues")
    if isinstance(queues, dict) and isinstance(queues.get("consumers"), list):
        merged["queues"] = queues | {"consumers": [{"options": item} if isinstance(item, dict) else item for item in queues["consumers"]]}
    return merged | {"project": project.resolve()}


def _own_file(data: Path) -> str:
    return f"sqlite:///{data}/hub.sqlite"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _with_options(table: Any, own: type) -> Any:
    """Put the keys that belong to the kind's own Config under `options`, and give a nameless trigger its name."""
    if not isinstance(table, dict):
        return table
    keys = fields_of(own).keys() - {"options"}
    moved: dict[str, Any] = {key: value for key, value in table.items() if key in keys}
    moved["options"] = {key: value for key, value in table.items() if key not in keys}
    kind, workflow = moved.get("kind"), moved.get("workflow")
    if own is TriggerSettings:
        words = [str(kind).rpartition(":")[2], *([workflow] if isinstance(workflow, str) else [])]
        moved.setdefault("name", "-".join(words)[:64] if isinstance(kind, str) else "unnamed")
    return moved


def _with_schedules(settings: Settings) -> Settings:
    """Turn the schedules of workflows into cron triggers, behind the declared ones."""
    taken = {trigger.name for trigger in settings.triggers}
    added = []
    for workflow in settings.workflows:
        for cron in workflow.schedules:
            name = next(name for name in _numbered(f"cron-{workflow.name}"[:60]) if name not in taken)
            taken.add(name)
            options = {"cron": cron} if workflow.flow.singleton is not None else {"cron": cron, "overlap": "allow"}  # as in the original
            added.append(TriggerSettings(kind="cron", name=name, workflow=workflow.name, options=options))
    return replace(settings, triggers=(*settings.triggers, *added))


def _with_consumers(settings: Settings) -> Settings:
    """Turn the consumers of queues into triggers, behind all others."""
    taken = {trigger.name for trigger in settings.triggers}
    added = []
    for consumer in settings.queues.consumers:
        name = next(name for name in _numbered(f"queue-{consumer.options.get('queue', '')}"[:60]) if name not in taken)
        taken.add(name)
        added.append(TriggerSettings(kind="queue", name=name, options=consumer.options))
    return replace(settings, triggers=(*settings.triggers, *added))


def _numbered(name: str) -> Iterable[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


# ---- ${NAME}


def _expanded(settings: Settings, environ: Mapping[str, str], file: str) -> Settings:
    """Fill in environment variables. In `vars` the hub's own address stays open, and `$${` stays escaped, for `expanded_vars`."""

    def filled(value: Any, path: str, *, final: bool) -> Any:
        def fill(match: re.Match[str]) -> str:
            if match[0].startswith("$$"):
                return match[0][1:] if final else match[0]
            if match[1] == _OWN_ADDRESS and not final:
                return match[0]
            if match[1] not in environ or match[1] == _OWN_ADDRESS:
                raise mistake(_unset(match[1]), path, file)
            return environ[match[1]] if final else environ[match[1]].replace("${", "$${")

        return each_text(value, lambda text: REFERENCE.sub(fill, text))

    def with_options(tables: Iterable[Any], path: str) -> tuple[Any, ...]:
        return tuple(replace(each, options=filled(each.options, f"{path}.{n}", final=True)) for n, each in enumerate(tables))

    return replace(
        settings,
        vars={name: filled(value, f"vars.{name}", final=False) for name, value in settings.vars.items()},
        triggers=with_options(settings.triggers, "triggers"),
        connectors=with_options(settings.connectors, "connectors"),
    )


def _address(settings: Settings, environ: Mapping[str, str], origin: str) -> str:
    """Return the address of the store with its variables filled in. A user or a password from a variable may have any characters."""
    url = settings.store.url
    if url == _own_file(settings.data):
        return url  # whatever its folder is called

    def fill(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        if match[1] not in environ:
            raise mistake(_unset(match[1]), "store.url", origin)
        of_user = match.start() > 0 and url[match.end() : match.end() + 1] in ("@", ":") and "@" in url[match.end() :]
        return quote(environ[match[1]], safe="") if of_user else environ[match[1]]

    filled = REFERENCE.sub(fill, url)
    wrong = address_mistake(filled)
    if wrong:
        raise mistake(wrong, "store.url", origin)
    return filled


def _unset(name: str) -> str:
    if name == _OWN_ADDRESS:
        return f"${{{_OWN_ADDRESS}}}, the hub's own address, is known in [vars] only"
    return f"the environment variable {name} is not set; set it, or write $${{{name}}} for the text itself"


# ---- rules between settings


def _check_names(settings: Settings, file: str) -> None:
    _check_unique(file, "workflows.{}.name", [workflow.name for workflow in settings.workflows])
    _check_unique(file, "triggers.{}.name", [trigger.name for trigger in settings.triggers])
    attributes = [(f"workflows.{n}.binding", workflow.binding) for n, workflow in enumerate(settings.workflows)]
    attributes += [(f"connectors.{n}.binding", connector.binding) for n, connector in enumerate(settings.connectors)]
    attributes += [(f"queues.producers.{n}.binding", producer.binding) for n, producer in enumerate(settings.queues.producers)]
    attributes += [(f"vars.{name}", name) for name in settings.vars]
    owners: dict[str, str] = {}
    for path, name in attributes:
        if name is not None and owners.setdefault(name, path) != path:
            raise mistake(f"self.env.{name} is {owners[name]} already; choose another name", path, file)
    known = [workflow.name for workflow in settings.workflows]
    for n, trigger in enumerate(settings.triggers):
        if trigger.workflow is not None and trigger.workflow not in known:
            raise mistake(f'there is no workflow "{trigger.workflow}"; {nearest(trigger.workflow, known)}', f"triggers.{n}.workflow", file)


def _check_node(settings: Settings, origin: str) -> None:
    known = [workflow.name for workflow in settings.workflows]
    for n, name in enumerate(settings.node.workflows):
        if name not in known:
            raise mistake(f'there is no workflow "{name}"; {nearest(name, known)}', f"node.workflows.{n}", origin)


def _check_flows(settings: Settings, file: str) -> None:
    """Refuse rules of flow control that exclude each other, also where one is the workflow's and one the trigger's."""
    of_workflow = {workflow.name: workflow.flow for workflow in settings.workflows}
    tables = [(f"workflows.{n}.flow", workflow.flow) for n, workflow in enumerate(settings.workflows)]
    tables += [
        (f"{place}.flow", of_workflow[trigger.workflow].under(trigger.flow))
        for place, trigger in zip(settings.trigger_places, settings.triggers, strict=True)
        if trigger.workflow is not None and trigger.flow != NO_RULES
    ]
    for path, flow in tables:
        found = conflict(flow)
        if found is not None:
            raise mistake(f"{found.words.replace('`', '')} is not possible: {found.reason}", f"{path}.{found.key}", file)
    triggers = [trigger.name for trigger in settings.triggers]
    for n, workflow in enumerate(settings.workflows):
        for k, cancel in enumerate(workflow.cancel_on):
            if cancel.trigger not in triggers:
                path = f"workflows.{n}.cancel_on.{k}.trigger"
                raise mistake(f'there is no trigger "{cancel.trigger}"; {nearest(cancel.trigger, triggers)}', path, file)


def _check_unique(file: str, path: str, names: Iterable[str]) -> None:
    first: dict[str, int] = {}
    for n, name in enumerate(names):
        if first.setdefault(name, n) != n:
            raise mistake(f'"{name}" is taken by {path.format(first[name])}; choose another', path.format(n), file)


def _check_door(settings: Settings, origin: str) -> None:
    """Refuse to serve other machines without any token: who reaches the API can run every workflow.

    Whether there is a stored token, nobody knows before the store is open; see `hub.engine.access`.
    """
    server = settings.server
    if server.auth is Auth.OFF and not server.loopback:
        remedy = 'set auth = "auto" and make a token: hub tokens create admin --scope admin --project DIR'
        raise mistake(f"{server.host!r} can be reached from other machines; {remedy}", "server.auth", origin)
