"""Checks of what is reached over the network: the port, a hub that runs, brokers, the services behind connectors. None sends anything."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from hub.core.errors import ConfigError
from hub.doctor.checks import Case, Checks, Result, fail, ok, skip, warn
from hub.doctor.project import with_settings
from hub.plugins import connector_class, parse_options, trigger_class
from hub.schema import Settings

_PATIENCE_S = 5.0
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound here: turned into what can be called
_PORTS = {"amqp": 5672, "amqps": 5671, "http": 80, "https": 443}


@with_settings
def _port(case: Case, settings: Settings) -> Result:
    host, port = settings.server.host, settings.server.port
    if port == 0:
        return ok("a free one is taken at the start")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and case.owner is not None:
            return ok(f"{host}:{port} is in use, and a hub runs on this project")
        if error.errno == errno.EADDRINUSE:
            return fail(f"{host}:{port} is in use by another program", "stop it (lsof -i), or choose another port with --port")
        if error.errno == errno.EACCES:
            return fail(f"this user may not open {host}:{port}", "choose a port above 1023 with --port")
        return fail(f"{host}:{port} cannot be listened on: {error.strerror or error}", "choose an address of this machine with --host")
    return ok(f"{host}:{port} is free")


@with_settings
def _running(case: Case, settings: Settings) -> Result:
    if case.owner is None:
        return ok("no hub runs on this project")
    host, port = _HERE.get(settings.server.host, settings.server.host).strip("[]"), settings.server.port
    if port == 0:
        return skip("it listens on a port that the settings do not name")
    try:
        found = _asked(host, port)
    except (OSError, HTTPException, ValueError) as error:
        remedy = "it may be `hub run`, or have other flags: give this command the same --host and --port; else look at its log"
        return warn(f"a hub runs (process {case.owner}), but does not answer on {host}:{port}: {error}", remedy)
    try:
        ours = version("trigger-hub")
    except PackageNotFoundError:
        return skip("the hub runs from a source folder that is not installed")
    if found != ours:
        return warn(f"the hub that runs is {found}, this command is {ours}", "start the hub again")
    return ok(f"the hub that runs answers on {host}:{port}, and is {found} too")


def _asked(host: str, port: int) -> str:
    """Return the version that a hub tells. Raises: OSError, HTTPException, ValueError."""
    connection = HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/openapi.json")
        document = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if not isinstance(document, dict) or "info" not in document:
        raise ValueError("what answers there is no hub")
    return str(document["info"]["version"])


@with_settings
def _brokers(_: Case, settings: Settings) -> Result:
    try:
        places = sorted(set(_addresses(settings)))
    except ConfigError:
        return skip("a key of hub.toml is wrong")
    away = []
    for host, port in places:
        try:
            socket.create_connection((host, port), _PATIENCE_S).close()
        except OSError as error:
            away.append(f"{host}:{port}: {error.strerror or error}")
    if away:
        return warn("; ".join(away), "start the broker, or correct `url`; the hub starts without it, and connects as soon as it is there")
    return ok(", ".join(f"{host}:{port} can be reached" for host, port in places) or "no trigger needs one")


def _addresses(settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield the places that triggers connect to."""
    for trigger in settings.triggers:
        config: Any = parse_options(trigger_class(trigger.kind), trigger.options, f"triggers.{trigger.name}")
        url = getattr(config, "url", None)
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if isinstance(text, str) and trigger.enabled:
            parts = urlsplit(text)
            if parts.hostname and parts.scheme in _PORTS:
                yield parts.hostname, parts.port or _PORTS[parts.scheme]


@with_settings
def _services(_: Case, settings: Settings) -> Result:
    if not settings.connectors:
        return ok("there is no connector")
    try:
        away = asyncio.run(_away(settings))
    except ConfigError:
        return skip("a key of hub.toml is wrong")
    if away:
        return warn("; ".join(away), "start the service, or correct its [[connectors]] table; steps that use it fail, and are tried again")
    return ok(f"{', '.join(each.binding for each in settings.connectors)} answer")


async def _away(settings: Settings) -> list[str]:
    """Ping each connector; return what went wrong."""
    away = []
    for n, spec in enumerate(settings.connectors):
        kind = connector_class(spec.kind, f"connectors.{n}")
        connector = kind(parse_options(kind, spec.options, f"connectors.{n}"))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await connector.open()
                await connector.ping()
        except TimeoutError:
            away.append(f"{spec.binding}: no answer in {_PATIENCE_S:.0f} seconds")
        except Exception as error:  # a plug-in may raise anything, and the other checks go on
            away.append(f"{spec.binding}: {error or type(error).__name__}")
        finally:
            await connector.close()
    return away


CHECKS: Checks = (
    ("port", _port),
    ("running-hub", _running),
    ("brokers", _brokers),
    ("services", _services),
)
