"""The queue example as it stands, on queues of its own names, with the real broker on real time."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from hub.app import App
from hub.project import forget
from hub.settings import load_settings
from tests.triggers.broker import Broker
from tests.triggers.queues import until

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "queue"
INSTANCES = "/client/v4/accounts/local/workflows/shipping/instances"


@pytest.fixture
def names(broker: Broker) -> dict[str, str]:
    return {"hub-example-orders": broker.name(), "hub-example-clicks": broker.name(".retry.30")}


@pytest.fixture
async def url(amqp_url: str, names: dict[str, str], tmp_path: Path) -> AsyncIterator[str]:
    project = tmp_path / "queue"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".hub", "__pycache__"))
    text = (project / "hub.toml").read_text().replace("amqp://guest:guest@127.0.0.1:5672/", amqp_url)
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    (project / "hub.toml").write_text(text)
    app = App(load_settings(project, overrides={"server": {"port": 0}}, environ={}))
    await app.start()
    yield app.url
    await app.stop()
    forget(project)


async def test_an_order_is_shipped_once_and_its_click_is_counted(
    broker: Broker, names: dict[str, str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    orders, clicks = names.values()
    await until(lambda: broker.exists(orders) and broker.exists(clicks), "both queues are declared")
    printed: list[str] = []

    def counted() -> bool:
        printed.append(capsys.readouterr().out)
        return f"1 clicks from {clicks}: {{'/orders/7': 1}}" in "".join(printed)

    async with aiohttp.ClientSession(url) as session:
        for _ in range(2):
            async with session.get("/?order=7&item=lamp") as response:
                assert (response.status, await response.json()) == (202, {"sent": "order-7"})
        await until(counted, "the click is counted")
        async with session.get(INSTANCES) as response:
            (instance,) = (await response.json())["result"]
        async with session.get(f"{INSTANCES}/{instance['id']}") as response:
            described = (await response.json())["result"]
    assert described["output"] == {"parcel": "P7", "items": 1}


async def test_a_click_that_nobody_understands_waits_in_the_broker(broker: Broker, names: dict[str, str], url: str) -> None:
    clicks = names["hub-example-clicks"]
    await until(lambda: broker.exists(clicks), "the queue is declared")
    broker.publish(clicks, {"colour": "green"})

    await until(lambda: broker.exists(f"{clicks}.retry.30") and broker.ready(f"{clicks}.retry.30") == 1, "it waits for its second attempt")
