"""What a hub says when it is ready: its addresses, its triggers, and what to try first.

Pure: a `Welcome` in, lines out. Every name and path in it is the project's own; nothing is written for one example.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from hub.cli.options import DEFAULT_ACCOUNT, DEFAULT_URL
from hub.cli.screen import safe
from hub.cli.words import Viewer

_SAMPLE = '{"hello":"world"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook that is served; `path` begins with /hooks/."""

    method: str
    path: str
    workflow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A schedule and its next time."""

    cron: str
    zone: str
    workflow: str
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTrigger:
    """A trigger of any other kind."""

    kind: str
    name: str
    workflow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """A hub that has just started. `command` is what the reader types to get this program."""

    name: str
    url: str
    account: str
    command: str = "hub"
    workflows: tuple[str, ...] = ()
    fetches: bool = False
    secured: bool = False
    webhooks: tuple[Webhook, ...] = ()
    crons: tuple[Cron, ...] = ()
    others: tuple[OtherTrigger, ...] = ()


def addresses(hub: Welcome, viewer: Viewer) -> Iterator[Text]:
    """Say where the hub is and what starts its workflows."""
    yield Text.assemble((safe(hub.name), "bold"), " ready on ", (hub.url, "bold cyan"))
    for webhook in hub.webhooks:
        yield _line("webhook", f"{webhook.method} {hub.url}{webhook.path}", webhook.workflow)
    for cron in hub.crons:
        zone = "" if cron.zone == "UTC" else f" {cron.zone}"
        next_at = "" if cron.next_at is None else f", next at {viewer.moment(cron.next_at)}"
        yield _line("cron", f"{cron.cron}{zone}", cron.workflow + next_at)
    for other in hub.others:
        yield _line(other.kind, other.name, other.workflow)
    yield _line("dashboard", f"{hub.url}/dashboard", None)
    yield _line("api", f"{hub.url}/client/v4/accounts/{hub.account}", None)
    yield _line("access", "with a token" if hub.secured else f"anybody on this machine; {hub.command} tokens create closes it", None)


def _line(label: str, what: str, leads_to: str | None) -> Text:
    line = Text.assemble("  ", (f"{safe(label):<9} ", "dim"), safe(what))
    return line if leads_to is None else line.append(f" → {safe(leads_to)}")


def tries(hub: Welcome) -> Iterator[Text]:
    """Name up to four things to try, each a line to copy into a shell."""
    lines = list(_tries(hub))
    if lines:
        yield Text("")
        yield Text("Try, in a second terminal:", style="bold")
    for line in lines:
        yield Text("  " + safe(line))


def _tries(hub: Welcome) -> Iterator[str]:
    if hub.fetches:
        yield f"curl -s {hub.url}/"
    webhook = next((webhook for webhook in hub.webhooks if webhook.method == "POST" and webhook.workflow in hub.workflows), None)
    if webhook is not None:
        yield f"curl -s -X POST {hub.url}{webhook.path} -H 'content-type: application/json' -d '{_SAMPLE}'"
    if hub.workflows:
        workflow = webhook.workflow if webhook is not None else hub.workflows[0]
        yield f"{_client(hub)} trigger {shlex.quote(workflow)} '{_SAMPLE}'"
        yield f"{_client(hub)} instances describe {shlex.quote(workflow)} latest"


def _client(hub: Welcome) -> str:
    """Return the start of a client command that reaches this hub."""
    parts = ["HUB_TOKEN=…"] if hub.secured else []
    parts += [hub.command, "workflows"]
    if hub.url != DEFAULT_URL:
        parts += ["--url", hub.url]
    if hub.account != DEFAULT_ACCOUNT:
        parts += ["--account", shlex.quote(hub.account)]
    return " ".join(parts)
