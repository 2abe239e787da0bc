"""Requests made up from the OpenAPI document, valid ones and others, against a node: `python -m tests.api.spec_fuzz [--cases 20000]`.

Schemathesis makes the requests, judges the answers and shrinks what it finds. Every answer must have a status and a shape that the document
promises, and none may be a failure of the server. The node is a real one; its instances are made anew whenever a request has deleted or
ended one. Prints what schemathesis says; the exit status is 1 when something was found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.core.clock import SystemClock
from hub.core.errors import HubError
from hub.core.ports import CreateRequest
from hub.core.queues import outgoing
from hub.core.writes import Verb
from hub.engine.access import AccessOptions
from tests.api.node import ACCOUNT, Node, running

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
)
ENDLESS = ("subscribeInstance", "deleteWorkflow")  # a stream that ends with its instance; what leaves nothing to ask for
NAMES = {  # what parameters are called that are no free choice: those that exist, and one that does not
    "account": [ACCOUNT],
    "workflow": ["greet", "approve", "sleep", "fail", "nobody"],
    "instance": ["one", "two", "three", "latest", "nobody"],
    "trigger": ["greetings", "leap-day", "off", "nobody"],
    "queue": ["orders", "nobody"],
    "node": ["1", "99"],
    "type": ["approved", "rejected"],
    "wait": ["0", "0.01s", "a while"],  # longer ones would be as right, and would take as long
    "name": ["greet-1", "prepare-1", "approval-1", "nap-1", "charge-1", "nobody-1"],
}
_TOKEN = "of-the-setting"  # a token that is made up on the way locks nobody out then
_TOLD = re.compile(r"^\s*([\d,]+) generated", re.MULTILINE)
_RENEW_S = 0.05


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has found."""

    cases: int
    ok: bool
    told: str


async def fuzz(folder: Path, *, each: int, seed: int) -> Found:
    """Make up to `each` requests an operation, beside those that its shapes suggest."""
    async with running(folder / "node", access=AccessOptions(token=_TOKEN)) as node:
        renewing = asyncio.create_task(_renew(node))
        try:
            return await _ask(node, folder, each, seed)
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})


async def _ask(node: Node, folder: Path, each: int, seed: int) -> Found:
    document = folder / "openapi.json"
    document.write_text(json.dumps(await _document(node)))
    excluded = [word for name in ENDLESS for word in ("--exclude-operation-id", name)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", node.server.url,
        "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", str(each), "--seed", str(seed),
        "--header", f"Authorization: Bearer {_TOKEN}", "--generation-database", "none",
        "--continue-on-failure", "--request-timeout", "20", "--warnings", "off", "--no-color", *excluded,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = out.decode(errors="replace")
    cases = _TOLD.search(told)
    return Found(cases=int(cases[1].replace(",", "")) if cases else 0, ok=process.returncode == 0, told=told)


async def _document(node: Node) -> Any:
    """Return the document with the names that exist: a made-up one meets nothing but 404."""
    document = (await node.call("GET", "/openapi.json")).body
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in NAMES and (parameter["in"] == "path" or parameter["name"] in ("name", "wait")):
                    parameter["schema"] = {"enum": NAMES[parameter["name"]]}
    return document


async def _renew(node: Node) -> None:
    """Keep some instances there: a new one whenever one is gone, or has ended."""
    clock = SystemClock()
    while True:
        for workflow in ("greet", "approve", "sleep", "fail"):
            for id in ("one", "two", "three"):
                with suppress(HubError):
                    await node.engine.create(CreateRequest(workflow=workflow, id=id, params={"order": 7}))
        with suppress(HubError):
            await node.engine.queues.create("orders")
        with suppress(HubError):
            await node.engine.queues.push("orders", [outgoing({"order": 7})])
        with suppress(HubError):
            await node.engine.steer("sleep", "two", Verb.PAUSE)
        with suppress(HubError):
            if (await node.engine.instance("approve", "one")).ended_at is not None:
                await node.engine.restart("approve", "one")
        await clock.sleep(_RENEW_S)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="make at least so many requests (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same requests (%(default)s)")
    order = parser.parse_args()
    cases, seed, ok = 0, order.seed, True
    while cases < order.cases and ok:
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(fuzz(Path(folder), each=200, seed=seed))
        print(found.told)
        cases, seed, ok = cases + found.cases, seed + 1, found.ok and found.cases > 0
    print(f"{cases:,} cases, {'nothing found' if ok else 'see above'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
