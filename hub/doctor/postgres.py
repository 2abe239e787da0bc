"""Checks of a PostgreSQL server and of the nodes on it: version, clock, connections, what makes a commit durable, who lives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING

from hub.doctor.checks import Case, Checks, Result, fail, ok, skip, warn

if TYPE_CHECKING:
    from hub.store.postgres_care import Server  # which needs the driver

_OLDEST, _TESTED = 12, 15
_CLOCKS = timedelta(seconds=1)
_FAR = timedelta(milliseconds=20)  # a step that waits for its commit waits for one round trip at least
_CONNECTIONS = 8  # that a node takes at most: 3 that write, 4 that read, 1 that listens
_LOST = 3  # nodes that were killed, from which on it is no accident


def _with_server(check: Callable[[Case, Server], Result]) -> Callable[[Case], Result]:
    @wraps(check)
    def checked(case: Case) -> Result:
        if case.server is not None:
            return check(case, case.server)
        return skip("the database cannot be reached" if case.unreadable and case.file is None else "the settings name no PostgreSQL")

    return checked


@_with_server
def _version(_: Case, server: Server) -> Result:
    if server.replica:
        return fail("the server is a replica: nothing can be written", "name the primary in [store] url")
    if server.major < _TESTED:
        return warn(f"PostgreSQL {server.version}; the hub is tested with {_TESTED}", "upgrade the server when you can")
    return ok(f"PostgreSQL {server.version}; the hub is tested with {_TESTED}, and needs {_OLDEST}")


@_with_server
def _clock(_: Case, server: Server) -> Result:
    slack = server.round_trip / 2
    apart = server.ahead / timedelta(milliseconds=1)
    told = f"the clock of the database is {abs(apart):.0f} ms {'ahead' if apart > 0 else 'behind'}"
    if abs(server.ahead) - slack > _CLOCKS:
        found = f"{told}: sleeps end and schedules run by the clock of each machine, and leases by that of the database"
        return fail(found, "keep both right: systemctl enable --now systemd-timesyncd, or chrony")
    return ok(told)


@_with_server
def _distance(_: Case, server: Server) -> Result:
    told = f"{server.round_trip / timedelta(milliseconds=1):.1f} ms to the database and back"
    return warn(told, "every commit waits for some of that: run the nodes near their database") if server.round_trip > _FAR else ok(told)


@_with_server
def _room(_: Case, server: Server) -> Result:
    left = server.connections - server.taken
    told = f"{left} of {server.connections} connections are free; a node takes up to {_CONNECTIONS}"
    remedy = "raise max_connections on the server, or end what else is connected (pg_stat_activity)"
    if not server.alive and left < _CONNECTIONS:
        return fail(told, remedy)
    return warn(told, remedy) if left < _CONNECTIONS else ok(f"{told}: there is room for {left // _CONNECTIONS} more")


@_with_server
def _durable(_: Case, server: Server) -> Result:
    off = [name for name, value in server.durable.items() if value == "off"]
    if off:
        found = f"{' and '.join(off)} off: what is acknowledged may be lost when the server crashes"
        return fail(found, f"ALTER SYSTEM SET {off[0]} = on; then restart the server")
    return ok(", ".join(f"{name} {value}" for name, value in server.durable.items()))


@_with_server
def _nodes(_: Case, server: Server) -> Result:
    told = f"{len(server.alive)} alive{': process ' + ', '.join(server.alive) if server.alive else ''}"
    if len(server.lost) >= _LOST:
        remedy = "look at their logs for what killed them (memory, a signal); they are forgotten by themselves"
        return warn(f"{told}; lost without a stop: process {', '.join(server.lost)}", remedy)
    return ok(f"{told}; lost: process {', '.join(server.lost)}" if server.lost else told)


CHECKS: Checks = (
    ("pg-server", _version),
    ("pg-clock", _clock),
    ("pg-distance", _distance),
    ("pg-room", _room),
    ("pg-durable", _durable),
    ("pg-nodes", _nodes),
)
