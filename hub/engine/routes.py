"""Which trigger answers at which path below /hooks/. Owns the endpoints of all triggers and the patterns of their paths.

Never looks at methods, headers or bodies. Invariant: at most one endpoint can match a path, because a pattern that overlaps another one is
refused when it is added; so the order in which triggers start changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from urllib.parse import quote, unquote

from hub.core.errors import ConfigError
from hub.core.routing import HookHandler, Matched, Route


class RouteTable:
    """The endpoints of all triggers: exact paths, and patterns whose segments in braces match anything."""

    def __init__(self, account: str) -> None:
        self.complete = False  # as long as triggers start, and again while they stop
        self._account = account
        self._exact: dict[str, Route] = {}
        self._patterns: dict[int, list[tuple[tuple[str, ...], Route]]] = {}  # by the number of segments

    def add(self, path: str, handler: HookHandler, *, methods: Sequence[str]) -> Callable[[], None]:
        """Serve a path or a pattern until the returned function is called. Raises: ConfigError when another one serves some of it."""
        segments = _segments(path)
        for route in chain(self._exact.values(), (route for _, route in self._patterns.get(len(segments), ()))):
            if _overlap(segments, _segments(route.path)):
                other = "" if route.path == path else f", which overlaps {route.path}"
                raise ConfigError(f"two triggers want the address {path}{other}; give one of them another `path`")
        route = Route(path=path, methods=frozenset(method.upper() for method in methods), handler=handler)
        if not any(map(_name, segments)):
            self._exact[path] = route
            return lambda: self._take_exact(route)
        self._patterns.setdefault(len(segments), []).append((segments, route))
        return lambda: self._take_pattern(len(segments), route)

    def status_path(self, workflow: str, id: str) -> str:
        """Return the REST path at which an instance can be looked at."""
        return f"/client/v4/accounts/{quote(self._account)}/workflows/{workflow}/instances/{quote(id, safe='')}"

    def match(self, path: str) -> Matched | None:
        """Return the endpoint at a path as it was sent, with the values of the pattern's names; an escaped slash separates nothing."""
        route = self._exact.get(path)
        if route is not None:
            return Matched(route=route)
        segments = _segments(path)
        if "%" in path:
            segments = tuple(unquote(segment) for segment in segments)
            route = self._exact.get("/".join(segments))
            if route is not None:
                return Matched(route=route)
        for pattern, route in self._patterns.get(len(segments), ()):
            params = _match(pattern, segments)
            if params is not None:
                return Matched(route=route, params=params)
        return None

    def _take_exact(self, route: Route) -> None:
        if self._exact.get(route.path) is route:
            del self._exact[route.path]

    def _take_pattern(self, length: int, route: Route) -> None:
        self._patterns[length] = [entry for entry in self._patterns[length] if entry[1] is not route]


def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))


def _name(segment: str) -> str | None:
    """Return the name of a segment that matches anything."""
    return segment[1:-1] if segment.startswith("{") else None


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether there is a path that both match."""
    return len(one) == len(other) and all(a == b or _name(a) or _name(b) for a, b in zip(one, other, strict=True))


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for expected, segment in zip(pattern, segments, strict=True):
        name = _name(expected)
        if name is None:
            if expected != segment:
                return None
        elif not segment:
            return None
        else:
            params[name] = segment
    return params
