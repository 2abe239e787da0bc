"""What a hub says when it is ready."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from rich.text import Text

from hub.cli.welcome import Cron, OtherTrigger, Webhook, Welcome, addresses, tries
from hub.cli.words import Viewer

VIEWER = Viewer(now=datetime(2026, 11, 22, 6, tzinfo=UTC), zone=UTC)
BARE = Welcome(name="shop", url="http://127.0.0.1:8787", account="local")


def lines(parts: Iterable[Text]) -> list[str]:
    return [part.plain for part in parts]


def test_every_trigger_is_told_with_where_it_leads() -> None:
    hub = Welcome(
        name="shop",
        url="http://127.0.0.1:8787",
        account="acme",
        webhooks=(Webhook(method="PUT", path="/hooks/in", workflow="orders"),),
        crons=(Cron(cron="0 9 * * 1", zone="Europe/Berlin", workflow="report", next_at=datetime(2026, 11, 23, 8, tzinfo=UTC)),),
        others=(
            OtherTrigger(kind="amqp", name="jobs", workflow="orders"),
            OtherTrigger(kind="inbox:Inbox", name="files", workflow="orders"),
        ),
    )

    assert lines(addresses(hub, VIEWER)) == [
        "shop ready on http://127.0.0.1:8787",
        "  webhook   PUT http://127.0.0.1:8787/hooks/in → orders",
        "  cron      0 9 * * 1 Europe/Berlin → report, next at 11/23/2026, 8:00:00 AM",
        "  amqp      jobs → orders",
        "  inbox:Inbox files → orders",
        "  dashboard http://127.0.0.1:8787/dashboard",
        "  api       http://127.0.0.1:8787/client/v4/accounts/acme",
        "  access    anybody on this machine; hub tokens create closes it",
    ]


def test_a_hub_with_tokens_says_that_one_is_needed() -> None:
    assert lines(addresses(replace(BARE, secured=True), VIEWER))[-1] == "  access    with a token"


def test_a_webhook_that_starts_no_workflow_is_none_to_start_by_hand() -> None:
    stop = Webhook(method="POST", path="/hooks/stop", workflow="cancels orders")

    told = lines(tries(Welcome(name="shop", url="http://127.0.0.1:8787", account="local", workflows=("orders",), webhooks=(stop,))))

    assert not [line for line in told if "cancels" in line or "/hooks/" in line]
    assert any(" trigger orders " in line for line in told)


def test_a_hub_without_anything_offers_nothing_to_try() -> None:
    assert lines(tries(BARE)) == []


def test_what_to_try_has_the_projects_own_names() -> None:
    hub = Welcome(
        name="shop",
        url="http://127.0.0.1:8787",
        account="local",
        fetches=True,
        workflows=("report", "orders"),
        webhooks=(
            Webhook(method="GET", path="/hooks/ping", workflow="report"),
            Webhook(method="POST", path="/hooks/in", workflow="orders"),
        ),
    )

    assert lines(tries(hub))[2:] == [
        "  curl -s http://127.0.0.1:8787/",
        "  curl -s -X POST http://127.0.0.1:8787/hooks/in -H 'content-type: application/json' -d '{\"hello\":\"world\"}'",
        '  hub workflows trigger orders \'{"hello":"world"}\'',
        "  hub workflows instances describe orders latest",
    ]


def test_what_to_try_reaches_a_hub_that_is_not_where_clients_look_first() -> None:
    hub = Welcome(name="shop", url="http://127.0.0.1:9000", account="acme", command=".venv/bin/hub", workflows=("orders",), secured=True)

    assert lines(tries(hub))[3] == (
        "  HUB_TOKEN=… .venv/bin/hub workflows --url http://127.0.0.1:9000 --account acme instances describe orders latest"
    )
