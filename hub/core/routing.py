"""The ports between the HTTP server and the triggers that serve an address below /hooks/. Protocols and values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hub.core.model import HttpReply, HttpRequest

ReadBody = Callable[[int], Awaitable[bytes]]  # up to so many bytes. Raises: PayloadTooLarge, or Rejected when the sender breaks off
HookHandler = Callable[[HttpRequest, ReadBody], Awaitable[HttpReply]]  # gets a request whose body it reads itself


class Routes(Protocol):
    """Where a trigger hangs its HTTP endpoints."""

    def add(self, path: str, handler: HookHandler, *, methods: Sequence[str]) -> Callable[[], None]:
        """Serve `path` (absolute, below /hooks/) until the returned function is called; a segment `{name}` matches any.

        Raises: ConfigError when another trigger serves the path, or some of the paths that the pattern matches.
        """
        ...

    def status_path(self, workflow: str, id: str) -> str:
        """Return the absolute path under which REST shows an instance."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint that a trigger serves."""

    path: str
    methods: frozenset[str]
    handler: HookHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The endpoint at a path, and what the names of its pattern stand for."""

    route: Route
    params: Mapping[str, str] = field(default_factory=dict)


class RouteLookup(Protocol):
    """How the server finds the endpoint of a trigger."""

    @property
    def complete(self) -> bool:
        """Whether all triggers have started and none has stopped; before and after, there may be more endpoints than there are here."""
        ...

    def match(self, path: str) -> Matched | None: ...
