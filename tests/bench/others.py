"""How much of the machine other programs use while something is measured, where the system tells it (Linux)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STAT = Path("/proc/stat")


class Others:
    """`cores` is what other programs used on average, once the body is over; 0 where it is not known."""

    cores: float = 0.0


@contextmanager
def watched() -> Iterator[Others]:
    """Compare what the whole machine does with what this process and its ended children do."""
    others = Others()
    began, machine, own = time.monotonic(), _machine_s(), _own_s()
    yield others
    foreign_s = (_machine_s() - machine) - (_own_s() - own)
    others.cores = max(0.0, foreign_s / (time.monotonic() - began))


def _machine_s() -> float:
    if not _STAT.exists():
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(ticks) for ticks in _STAT.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
