"""The public test kit: run workflows in virtual time on a real store, with steps, waits and timers bent as a test needs them.

Each name is loaded when it is first used: pytest imports this package at every start, and must not wait for the engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.testing.kit import AsyncRun, AsyncWorkflows
    from hub.testing.modify import Modifier
    from hub.testing.plain import Run, Workflows
    from hub.testing.plugin import OpenAsyncWorkflows, OpenWorkflows
    from hub.testing.recorded import Replayed
    from hub.testing.virtual import VirtualClock, VirtualLoop

__all__ = [
    "AsyncRun",
    "AsyncWorkflows",
    "Modifier",
    "OpenAsyncWorkflows",
    "OpenWorkflows",
    "Replayed",
    "Run",
    "VirtualClock",
    "VirtualLoop",
    "Workflows",
]

_HOMES = {
    "AsyncRun": "hub.testing.kit",
    "AsyncWorkflows": "hub.testing.kit",
    "Modifier": "hub.testing.modify",
    "OpenAsyncWorkflows": "hub.testing.plugin",
    "OpenWorkflows": "hub.testing.plugin",
    "Replayed": "hub.testing.recorded",
    "Run": "hub.testing.plain",
    "VirtualClock": "hub.testing.virtual",
    "VirtualLoop": "hub.testing.virtual",
    "Workflows": "hub.testing.plain",
}

if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name: str) -> Any:
        """Load a public name."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
