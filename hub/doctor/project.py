"""Checks of the project: its settings, its code, its triggers, and who may reach it."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from datetime import timedelta
from functools import wraps

from hub.core.access import Auth
from hub.core.errors import ConfigError
from hub.doctor.checks import Case, Checks, Result, fail, ok, skip, warn
from hub.masking import is_secret
from hub.plugins import connector_class, parse_options
from hub.project import load_project
from hub.schema import REFERENCE, Settings
from hub.settings import FILE
from hub.triggering import declared_triggers

_WITH_SETTINGS = "hub.toml has to be mended first"
_SHORT_TOKEN = 20  # characters: less can be guessed by somebody who has time
_MANY = 10_000  # ended instances from which on somebody should have decided how long they are kept


def _settings(case: Case) -> Result:
    if case.settings is None:
        return fail(case.mistake, "correct hub.toml; `hub config show --origin` tells what holds once it can be read")
    return ok(f"{case.settings.project / FILE}: every key is known, {len(case.settings.workflows)} workflows")


def with_settings(check: Callable[[Case, Settings], Result]) -> Callable[[Case], Result]:
    """Skip a check where the settings are wrong."""

    @wraps(check)
    def checked(case: Case) -> Result:
        return skip(_WITH_SETTINGS) if case.settings is None else check(case, case.settings)

    return checked


@with_settings
def _code(_: Case, settings: Settings) -> Result:
    try:
        project = load_project(settings.project, settings.main, [workflow.class_name for workflow in settings.workflows])
    except ConfigError as error:
        return fail(error.message, f"correct {settings.main}; `hub dev` tells the same after every save")
    handlers = [name for name in ("fetch", "queue", "scheduled") if project.worker is not None and hasattr(project.worker, name)]
    return ok(f"{settings.main}: {', '.join(project.workflows) or 'no workflow'}{'; handlers: ' + ', '.join(handlers) if handlers else ''}")


@with_settings
def _triggers(_: Case, settings: Settings) -> Result:
    try:
        project = load_project(settings.project, settings.main, [workflow.class_name for workflow in settings.workflows])
    except ConfigError:
        return skip("the code has to load first")
    try:
        declared = declared_triggers(settings, project.worker)
    except ConfigError as error:
        return fail(error.message, "correct that key of hub.toml")
    off = [each.name for each in settings.triggers if not each.enabled]
    if not declared:
        return ok("there are none; REST and the command line start instances")
    return ok(f"{len(declared)}: {', '.join(each.spec.name for each in declared)}{'; disabled: ' + ', '.join(off) if off else ''}")


@with_settings
def _connectors(_: Case, settings: Settings) -> Result:
    try:
        for n, spec in enumerate(settings.connectors):
            parse_options(connector_class(spec.kind, f"connectors.{n}"), spec.options, f"connectors.{n}")
    except ConfigError as error:
        return fail(error.message, "correct that key of hub.toml")
    return ok(", ".join(f"{each.binding} ({each.kind})" for each in settings.connectors) or "there are none")


@with_settings
def _access(case: Case, settings: Settings) -> Result:
    server, given = settings.server, settings.server.token.get_secret_value()
    stored = 0 if case.contents is None else case.contents.tokens
    make = "make one: hub tokens create admin --scope admin --project DIR"
    if server.auth is Auth.OFF:
        return ok(f'{server.host}: nobody is asked for a token (auth = "off"), and only this machine reaches it')
    if given and len(given) < _SHORT_TOKEN:
        return warn(f"[server] token has {len(given)} characters", "take a longer one: openssl rand -hex 32")
    if given or stored:
        return ok(f"{server.host}: a token is needed; {stored} are stored{', one is in the settings' if given else ''}")
    if not server.loopback:
        return fail(f"{server.host} can be reached by others, and there is no token: a hub does not start like that", make)
    if server.auth is Auth.REQUIRED:
        return warn("a token is needed, and there is none: nobody gets in", make)
    return ok(f"{server.host}: nobody is asked for a token, and only this machine reaches it")


@with_settings
def _secrets(_: Case, settings: Settings) -> Result:
    """Look for secrets that stand in a file which everybody may read."""
    file = settings.project / FILE
    if not file.stat().st_mode & stat.S_IROTH:
        return ok(f"others may not read {FILE}")
    texts = _texts(tomllib.loads(file.read_text(encoding="utf-8")))
    written = [key for key, value in texts if is_secret(key) and not REFERENCE.search(value)]
    if written:
        remedy = "put them into environment variables, ${NAME} in the file, or chmod 640 the file"
        return warn(f"{FILE} may be read by everybody on this machine, and holds {', '.join(sorted(set(written)))}", remedy)
    return ok(f"{FILE} holds no secret that is written out")


def _texts(value: object, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _texts(item, str(name))]
    if isinstance(value, list):
        return [found for item in value for found in _texts(item, key)]
    return [(key, value)] if isinstance(value, str) and value else []


@with_settings
def _retention(case: Case, settings: Settings) -> Result:
    kept = settings.retention
    for_ever = kept.success == timedelta.max and not any(each.default_retention.success_retention for each in settings.workflows)
    counts = {} if case.contents is None else case.contents.instances
    ended = sum(counts.get(status, 0) for status in ("complete", "errored", "terminated"))
    if for_ever and ended > _MANY:
        remedy = 'say how long: [retention] success = "30 days", or default_retention of a workflow'
        return warn(f"{ended} instances have ended, and complete ones are kept for ever", remedy)
    told = "for ever" if for_ever else "as long as [retention] or their workflow says"
    return ok(f"complete instances are kept {told}; {ended} have ended")


CHECKS: Checks = (
    ("settings", _settings),
    ("code", _code),
    ("triggers", _triggers),
    ("connectors", _connectors),
    ("access", _access),
    ("secrets", _secrets),
    ("retention", _retention),
)
