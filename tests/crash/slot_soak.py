"""The campaign of slots at any length: `python -m tests.crash.slot_soak [--kills 200] [--seed N]`.

Prints the report as JSON; the exit status is 1 when a slot is doubled, missing or told twice, and the folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict

from .forks import Lives
from .kills import chosen_seed, new_folder
from .slots import campaign


def main() -> int:
    """Run one campaign as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.crash.slot_soak", description="Kill two ticking nodes, and judge every slot.")
    parser.add_argument("--kills", type=int, default=200, help="how often (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run (default: HUB_CRASH_SEED, or a new one)")
    order = parser.parse_args()
    folder, seed = new_folder(), chosen_seed() if order.seed is None else order.seed
    print(f"seed {seed}, {order.kills} kills, in {folder}", file=sys.stderr, flush=True)
    with Lives() as lives:
        report = campaign(lives, folder, seed, order.kills)
    print(json.dumps({**asdict(report), "became": dict(report.became)}, indent=2))
    if report.faults:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
