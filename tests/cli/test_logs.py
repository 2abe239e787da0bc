"""One stream, one form, for what the hub logs and what libraries log."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.cli.command_line import environment

_PROGRAM = """
import logging, sys, warnings
import structlog
from hub.cli import logs

logs.configure({level!r}, {form!r})
log = structlog.get_logger("hub")
log.debug("quiet.thing")
log.info("loud.thing", path="/a", text="\\x1b[2J")
logging.getLogger("library").info("library chatter")
logging.getLogger("library").warning("library %s", "warns")
warnings.warn("old thing")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken.thing")
"""


async def logged(level: str, form: str) -> tuple[str, str]:
    """Return what a program that logs writes to stdout and to stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM.format(level=level, form=form)),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return out.decode(), err.decode()


async def test_a_pipe_gets_one_json_object_a_line_from_all_sources() -> None:
    out, err = await logged("info", "auto")

    rows = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [row["event"].split(":")[0] for row in rows] == ["loud.thing", "library warns", "<string>", "broken.thing"]
    assert rows[0] == {"event": "loud.thing", "path": "/a", "text": "\x1b[2J", "level": "info", "timestamp": rows[0]["timestamp"]}
    assert rows[1]["logger"] == "library"
    assert rows[0]["timestamp"].endswith("Z")
    assert "ZeroDivisionError: division by zero" in rows[3]["exception"]


async def test_debug_shows_what_libraries_say_too() -> None:
    _, err = await logged("debug", "json")

    assert {"quiet.thing", "library chatter"} <= {json.loads(line)["event"] for line in err.splitlines()}


async def test_pretty_lines_cannot_drive_the_terminal() -> None:
    _, err = await logged("info", "pretty")

    assert "loud.thing" in err
    assert "\x1b" not in err
    assert "\\x1b[2J" in err
    assert "ZeroDivisionError: division by zero" in err
