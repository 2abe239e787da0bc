"""Fixtures of the tests with Cloudflare's own clients: a hub that wants a token, and the clients, pointed at it.

A client that this machine cannot have is told: skipped with the reason on a laptop, an error on CI.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest

from hub.core.access import ANYBODY, Scope
from tests.api.node import ACCOUNT, Node, running
from tests.clients.wrangler import Missing, Wrangler, installed

SCOPES = frozenset({Scope.READ, Scope.TRIGGER, Scope.CONTROL, Scope.PAYLOADS})


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a hub that wants a token, and has one by the name `deploy`; the test's own calls carry it."""
    async with running(tmp_path) as node:
        await node.engine.access.create("admin", frozenset({Scope.ADMIN}), account=ACCOUNT, by=ANYBODY)  # the first one
        made = await node.engine.access.create("deploy", SCOPES, account=ACCOUNT, by=ANYBODY)
        node.client.headers["authorization"] = f"Bearer {made.secret}"
        yield node


def token_of(hub: Node) -> str:
    """Return the token of a hub that wants one."""
    return hub.client.headers["authorization"].removeprefix("Bearer ")


@pytest.fixture
async def open_hub(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a hub that wants no token, as on a developer's machine."""
    async with running(tmp_path) as node:
        yield node


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Wrangler:
    """Return wrangler; install it where it has never been."""
    try:
        return installed(tmp_path_factory.mktemp("empty"))
    except Missing as error:
        absent(str(error))


@pytest.fixture
def stranger(program: Wrangler, hub: Node) -> Wrangler:
    """Return wrangler with the address of the hub and a token, and no account."""
    return program.told(CLOUDFLARE_API_BASE_URL=f"{hub.server.url}/client/v4", CLOUDFLARE_API_TOKEN=token_of(hub))


@pytest.fixture
def wrangler(stranger: Wrangler) -> Wrangler:
    """Return wrangler with everything that it wants."""
    return stranger.told(CLOUDFLARE_ACCOUNT_ID="local")


def absent(reason: str) -> NoReturn:
    """Skip a test whose client is missing, with the reason; on CI it fails."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(reason)
