"""Any number of seeds: `python -m tests.programs --seeds 100000 [--first N] [--processes N]`.

Prints each seed that differs as soon as it is found, and at the end what was met as JSON; the exit status is 1 when one has differed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter

from .campaign import judge_all

_SEEDS = 10_000
_LARGEST = 1_000_000_000


def main() -> int:
    """Judge seeds as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.programs", description="Compare random programs with a plain interpreter.")
    parser.add_argument("--seeds", type=int, default=_SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=None, help="the first one (default: a random one)")
    parser.add_argument("--processes", type=int, default=None, help="how many share them (default: one a processor)")
    order = parser.parse_args()
    first = random.randrange(_LARGEST) if order.first is None else order.first
    print(f"{order.seeds} seeds from {first}", file=sys.stderr, flush=True)
    met: Counter[str] = Counter()
    differences = 0
    for different, part in judge_all(range(first, first + order.seeds), order.processes):
        met += part
        differences += len(different)
        for verdict in different:
            print(verdict, flush=True)
    print(json.dumps({"differences": differences, **dict(sorted(met.items()))}, indent=2))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
