"""One measurement in a process of its own: `python -m tests.bench.measure WORKLOAD FOLDER N SECONDS NODES`.

Prints it as one JSON line. A fresh process each time, so that no run inherits memory, caches or a warm allocator from the one before it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.bench.loops import run
from tests.bench.measurement import Measurement, Size

REPOSITORY = Path(__file__).parents[2]
_STALLED_S = 600.0  # no measurement takes nearly as long; one that does has lost an instance …
_STALLED_EACH_S = 0.005  # … and so much more for each: to sleep and wake takes a fifth of that on a loaded machine
_Workload = Callable[[Path, Size], Coroutine[Any, Any, Measurement]]


def measured(workload: str, folder: Path, size: Size) -> Measurement:
    """Start a process that measures a workload in an empty folder. Raises: SubprocessError; its output says what was wrong."""
    command = [sys.executable, "-m", "tests.bench.measure", workload, str(folder), str(size.n), str(size.seconds), str(size.nodes)]
    limit_s = _STALLED_S + size.n * _STALLED_EACH_S
    process = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, timeout=limit_s)
    return Measurement(**json.loads(process.stdout))


def _find(name: str) -> _Workload:
    """Return a workload, or its yardstick; each imports only what it runs, because that is in its memory too."""
    module, function = {
        "three-step": ("workloads", "three_step"),
        "latency": ("workloads", "latency"),
        "intake": ("intake", "intake"),
        "three-step-on-postgres": ("postgres", "three_step"),
        "latency-on-postgres": ("postgres", "latency"),
        "amqp": ("amqp", "amqp"),
        "sequential": ("sequential", "sequential"),
        "sleepers": ("sleepers", "sleepers"),
        "idle": ("idle", "idle"),
        "recovery": ("recovery", "recovery"),
        "lists": ("lists", "lists"),
        "growth": ("growth", "growth"),
        "yardstick-of-three-step": ("yardstick", "three_step"),
        "yardstick-of-latency": ("yardstick", "latency"),
        "yardstick-of-intake": ("bare", "intake"),
        "yardstick-of-sequential": ("yardstick", "sequential"),
        "yardstick-of-three-step-on-postgres": ("postgres_yardstick", "three_step"),
        "yardstick-of-latency-on-postgres": ("postgres_yardstick", "latency"),
    }[name]
    workload: _Workload = getattr(import_module(f"tests.bench.{module}"), function)
    return workload


if __name__ == "__main__":
    name, place, count, time, nodes = sys.argv[1:]
    if not name.startswith("yardstick"):  # as `hub serve` does
        from hub.process import tune_garbage_collection

        tune_garbage_collection()
    size = Size(n=int(count), seconds=float(time), nodes=int(nodes))
    print(json.dumps(asdict(run(_find(name)(Path(place), size)))))
