"""The kill campaign at any length: `python -m tests.crash.soak --kills 2000 [--seed N] [--folder DIR]`.

Prints the report as JSON; the exit status is 1 when the hub has broken a promise, and the folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from .forks import Lives
from .kills import Campaign, chosen_seed, new_folder

_KILLS = 2000


def main() -> int:
    """Run one campaign as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.crash.soak", description="Kill a real node over and over, and judge what is left.")
    parser.add_argument("--kills", type=int, default=_KILLS, help="how often (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run (default: HUB_CRASH_SEED, or a new one)")
    parser.add_argument("--folder", type=Path, default=None, help="where the file and the ledgers are made (default: a new one in memory)")
    order = parser.parse_args()
    seed = chosen_seed() if order.seed is None else order.seed
    folder = order.folder or new_folder()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {order.kills} kills, in {folder}", file=sys.stderr, flush=True)
    with Lives() as lives:
        report = Campaign(lives, folder, seed).run(order.kills)
    print(json.dumps(asdict(report), indent=2))
    if report.faults:
        return 1
    if order.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
