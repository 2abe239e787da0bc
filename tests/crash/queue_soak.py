"""The queue campaign at any length: `python -m tests.crash.queue_soak --messages 100000 --faults 60 [--broker] [--seed N]`.

Prints the report as JSON; the exit status is 1 when the hub has broken a promise, and the folder is kept then. `--broker` also stops and
starts the broker itself with rabbitmqctl, which needs its cookie: everybody else's connections are cut by that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from .kills import chosen_seed, new_folder
from .queues import FAULTS, Campaign

_URL = "amqp://guest:guest@127.0.0.1:5672/"


def main() -> int:
    """Run one campaign as the command line says."""
    parser = argparse.ArgumentParser(
        "python -m tests.crash.queue_soak", description="Break everything around a queue, and judge what is left."
    )
    parser.add_argument("--messages", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=60, help="how many (default: %(default)s)")
    parser.add_argument("--broker", action="store_true", help="restart the broker as well")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run")
    order = parser.parse_args()
    seed, folder = chosen_seed() if order.seed is None else order.seed, new_folder()
    kinds = [name for name in FAULTS if order.broker or name != "broker"]
    plan = [kinds[number % len(kinds)] for number in range(order.faults)]
    random.Random(seed).shuffle(plan)
    print(f"seed {seed}, {order.messages} messages, {order.faults} faults, in {folder}", file=sys.stderr, flush=True)
    report = asyncio.run(Campaign(os.environ.get("HUB_TEST_AMQP_URL", _URL), Path(folder), seed).run(order.messages, plan))
    print(json.dumps(asdict(report), indent=2))
    if report.broken:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
