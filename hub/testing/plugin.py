"""The pytest plugin: fixtures that open workflows under test and close them after the test.

Loaded by every pytest in an environment that has the hub, so it imports nothing heavy and changes nothing by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from hub.testing.virtual import START

try:
    import pytest_asyncio
except ImportError:  # then there are no async tests of its kind
    pytest_asyncio = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from hub.testing.kit import AsyncWorkflows
    from hub.testing.plain import Workflows

_SETTINGS = "hub.toml"


class OpenWorkflows(Protocol):
    """The fixture `workflows`: call it with classes, or without for the project that the test file belongs to."""

    def __call__(
        self, *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
    ) -> Workflows: ...


class OpenAsyncWorkflows(Protocol):
    """The fixture `async_workflows`: the same, to be awaited."""

    async def __call__(
        self, *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
    ) -> AsyncWorkflows: ...


@pytest.fixture
def workflows(request: pytest.FixtureRequest) -> Iterator[OpenWorkflows]:
    """Open workflows under test, in virtual time; for plain `def` tests."""
    from hub.testing.plain import Workflows

    with ExitStack() as stack:

        def open_workflows(
            *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
        ) -> Workflows:
            return stack.enter_context(Workflows(*classes, project=_project(request, classes, project), env=env, start=start))

        yield open_workflows


if pytest_asyncio is not None:

    @pytest_asyncio.fixture
    async def async_workflows(request: pytest.FixtureRequest) -> AsyncIterator[OpenAsyncWorkflows]:
        """Open workflows under test, for async tests on a `VirtualLoop`."""
        from hub.testing.kit import AsyncWorkflows

        async with AsyncExitStack() as stack:

            async def open_workflows(
                *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
            ) -> AsyncWorkflows:
                opened = AsyncWorkflows(*classes, project=_project(request, classes, project), env=env, start=start)
                return await stack.enter_async_context(opened)

            yield open_workflows


def _project(request: pytest.FixtureRequest, classes: tuple[type, ...], project: Path | str | None) -> Path | str | None:
    """Return the folder of the project to test: without classes, the one that the test file lies in."""
    if classes or project is not None:
        return project
    here = next((folder for folder in request.path.parents if (folder / _SETTINGS).is_file()), None)
    if here is None:
        pytest.fail(f"give a workflow class or project=…: no folder around {request.path} has a {_SETTINGS}", pytrace=False)
    return here
