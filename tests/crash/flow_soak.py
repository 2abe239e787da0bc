"""The campaign of flow control at any length: `python -m tests.crash.flow_soak [--kills 1000] [--seed N]`.

Prints the report as JSON; the exit status is 1 when a limit was exceeded or an event lost or doubled, and the folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict

from .flows import Campaign
from .forks import Lives
from .kills import chosen_seed, new_folder


def main() -> int:
    """Run one campaign as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.crash.flow_soak", description="Kill a node with limits, and judge every gate.")
    parser.add_argument("--kills", type=int, default=1000, help="how often (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run (default: HUB_CRASH_SEED, or a new one)")
    order = parser.parse_args()
    folder, seed = new_folder(), chosen_seed() if order.seed is None else order.seed
    print(f"seed {seed}, {order.kills} kills, in {folder}", file=sys.stderr, flush=True)
    with Lives() as lives:
        report = Campaign(lives, folder, seed).run(order.kills)
    print(json.dumps(asdict(report), indent=2))
    if report.faults:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
