"""The veil has every verb of the ports, and hides by default what it does not know."""

from __future__ import annotations

import pytest

from hub.core.delivery import TriggerQuery
from hub.core.desk import Desk
from hub.core.ports import Engine
from hub.engine.veil import VeiledDesk, VeiledEngine
from tests.engine.conftest import Hub


def verbs(port: type) -> set[str]:
    """Return the names of the public methods."""
    return {name for name in vars(port) if not name.startswith("_")}


@pytest.mark.parametrize(("port", "veiled"), [(Engine, VeiledEngine), (Desk, VeiledDesk)])
def test_a_verb_that_a_port_gets_needs_a_decision(port: type, veiled: type) -> None:
    assert verbs(veiled) == verbs(port)


async def test_what_nobody_has_decided_about_is_not_shown(hub: Hub) -> None:
    await hub.start()
    await hub.engine.ledger.register("hook", "http", None, "1")
    with pytest.raises(TypeError, match="nobody has said what to hide of TriggerRecord"):
        await VeiledEngine(hub.engine).find(TriggerQuery())
