"""Checks of the machine and of what is installed on it: versions, limits, clock, time zones."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
import zoneinfo
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from hub.doctor.checks import Case, Checks, Result, fail, ok, skip, warn
from hub.store.care import SQLITE

_PACKAGE = "trigger-hub"
_PYTHON = (3, 11)
_SQLITE = (3, 35, 0)  # RETURNING
_NO_RACE = (3, 51, 3)  # from there on two writers cannot lose a write when the log is begun anew
_FILES = 4096  # each connection of a client and each instance at work may need one
_BUILT = 1_767_225_600  # 2026-01-01: no clock that is right says less
_CLOCK_SLACK = timedelta(minutes=1)
_BOUND = re.compile(r"(>=|<=|==|!=|~=|<|>)\s*(.*)")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[.*?\])?\s*(.*)")


def _python(_: Case) -> Result:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _PYTHON:
        return fail(f"Python {found}", "install Python 3.11 or newer, and the hub into it")
    return ok(f"Python {found}, {sys.executable}")


def _sqlite(_: Case) -> Result:
    found = tuple(map(int, SQLITE.split(".")))
    if found < _SQLITE:
        return fail(f"SQLite {SQLITE}", "use a Python that was built with SQLite 3.35 or newer")
    if found < _NO_RACE:
        note = "before 3.51.3 two writers of one file can lose a write; the hub has one: let no other program write into its file"
        return ok(f"SQLite {SQLITE}; {note}")
    return ok(f"SQLite {SQLITE}")


def _packages(_: Case) -> Result:
    try:
        wanted = [line for line in requires(_PACKAGE) or [] if "extra ==" not in line]
    except PackageNotFoundError:
        return warn("the hub runs from a source folder that is not installed", "install it: pip install .")
    wrong = list(_wrong(wanted))
    if wrong:
        return fail("; ".join(wrong), f"install them: pip install --upgrade {_PACKAGE}")
    return ok(f"{_PACKAGE} {version(_PACKAGE)} and {len(wanted)} packages that it needs")


def _wrong(wanted: list[str]) -> Iterator[str]:
    for line in wanted:
        parts = _REQUIREMENT.match(line.partition(";")[0].strip())
        if parts is None or (";" in line and find_spec(parts[1].replace("-", "_")) is None):
            continue  # a package for other platforms
        try:
            found = version(parts[1])
        except PackageNotFoundError:
            yield f"{parts[1]} is missing"
            continue
        for bound in filter(None, parts[2].split(",")):
            if not _fits(found, bound.strip()):
                yield f"{parts[1]} is {found}, not {bound.strip()}"


def _fits(found: str, bound: str) -> bool:
    parts = _BOUND.match(bound)
    if parts is None:
        return True
    have, want = _numbers(found), _numbers(parts[2])
    return {">=": have >= want, "<": have < want, "==": have == want, "!=": have != want}.get(parts[1], True)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _uvloop(_: Case) -> Result:
    if find_spec("uvloop") is None:
        return warn("the event loop is Python's own", "pip install uvloop: a step costs a third less")
    return ok(f"uvloop {version('uvloop')}")


def _parser(_: Case) -> Result:
    if find_spec("aiohttp._http_parser") is None:
        return warn("requests are parsed in Python", "install aiohttp as a wheel: its C parser is faster, and the one that is tested most")
    return ok(f"aiohttp {version('aiohttp')} with its C parser")


def _files(_: Case) -> Result:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        return warn(f"{soft} files may be open at once (up to {hard})", f"ulimit -n {_FILES}, or LimitNOFILE={_FILES} in a systemd unit")
    return ok(f"{'any number of' if soft == resource.RLIM_INFINITY else soft} files may be open at once")


def _clock(case: Case) -> Result:
    remedy = "set the clock, and keep it right: systemctl enable --now systemd-timesyncd, or chrony"
    if case.now.timestamp() < _BUILT:
        return fail(f"the clock says {case.now:%Y-%m-%d %H:%M} UTC, which is past", remedy)
    last = None if case.contents is None else case.contents.changed_at
    if last is not None and last - case.now > _CLOCK_SLACK:
        return fail(f"the clock says {case.now:%Y-%m-%d %H:%M} UTC, and the database has been changed at {last:%Y-%m-%d %H:%M}", remedy)
    return ok(f"{case.now:%Y-%m-%d %H:%M:%S} UTC")


def _zone_data(_: Case) -> Result:
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        return fail("there is no time zone data", "pip install tzdata")
    return ok(f"{len(zoneinfo.available_timezones())} time zones")


def _zone(_: Case) -> Result:
    name = os.environ.get("TZ") or time.tzname[0]
    return ok(f"times are shown in {name}; schedules without a timezone are read in UTC")


def _user(_: Case) -> Result:
    if os.geteuid() == 0:
        return ok("the user is root; in production give the hub a user of its own")
    return ok(f"the user is number {os.geteuid()}")


def _memory(_: Case) -> Result:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, ValueError):
        return skip("this system does not tell how much memory is free")
    if free < 128:
        return warn(f"{free} MiB of memory are free", "a hub with 1000 slots may need more: lower [runner] slots, or add memory")
    return ok(f"{free} MiB of memory are free")


CHECKS: Checks = (
    ("python", _python),
    ("sqlite", _sqlite),
    ("packages", _packages),
    ("uvloop", _uvloop),
    ("http-parser", _parser),
    ("open-files", _files),
    ("memory", _memory),
    ("user", _user),
    ("clock", _clock),
    ("zone-data", _zone_data),
    ("time-zone", _zone),
)
