"""Starting `hub` without waiting for its imports: a fork of a process that has made them, a tenth of the price of a new one.

Owns that parent (`python -m tests.cli.warm FOLDER`), which nobody starts before the first program, and the client that asks it. The parent
never has a thread or an event loop, so a fork of it is `python -m hub` behind its last import: with the arguments, the environment, the
working folder and the streams that it is given, it runs `hub.__main__.main` and ends as Python ends. What a cold start needs is tested with
cold starts. Invariant: the parent ends with the process that has started it.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import hub.__main__
from hub.process import loop_factory

_WARM = (
    *("hub.serve", "hub.run", "hub.config_show", "hub.tokens", "hub.database", "hub.doctor", "hub.store.sqlite"),
    *("hub.store.postgres", "triggers.http", "triggers.cron", "rich.table", "rich.progress"),
)
_SOURCE = Path(__file__).resolve().parents[2]
_WAITING = 64  # programs that are asked for at once


# ---- what a test sees


class Program:
    """A `hub` that was started; what asyncio says of a subprocess with two pipes."""

    def __init__(self, pid: int, told: asyncio.StreamReader, line: asyncio.StreamWriter, outputs: list[asyncio.StreamReader]) -> None:
        self.pid = pid
        self.stdout, self.stderr = outputs
        self.returncode: int | None = None
        self._told, self._line = told, line
        self._turn = asyncio.Lock()

    async def wait(self) -> int:
        """Return the exit code, or minus the number of the signal that has ended it."""
        async with self._turn:
            if self.returncode is None:
                self.returncode = int(await self._told.readline())
                self._line.close()
                await self._line.wait_closed()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal. Raises: ProcessLookupError when it has ended."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it where it is. Raises: ProcessLookupError when it has ended."""
        self.send_signal(signal.SIGKILL)


async def start(*argv: str, env: Mapping[str, str], cwd: Path | None = None, stdin: bytes = b"") -> Program:
    """Start `hub` in three pipes; the first has what it may read, and then ends. The others are to be read to their ends."""
    (its_in, our_in), *outs = [os.pipe() for _ in range(3)]
    order = json.dumps({"argv": argv, "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(_parent() / "orders"))
    its = [its_in, *[its_out for _, its_out in outs]]
    socket.send_fds(connection, [b"."], its)
    connection.sendall(order + b"\n")
    told, line = await asyncio.open_unix_connection(sock=connection)
    pid = int(await told.readline())
    for stream in its:
        os.close(stream)
    with os.fdopen(our_in, "wb") as pipe:
        pipe.write(stdin)
    return Program(pid, told, line, [await _reader(ours) for ours, _ in outs])


async def _reader(pipe: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb"))
    return reader


@cache
def _parent() -> Path:
    """Start the parent, and return the folder in which it listens."""
    folder = tempfile.TemporaryDirectory(prefix="hub-warm-")
    command = [sys.executable, "-m", "tests.cli.warm", folder.name]
    process = subprocess.Popen(command, cwd=_SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise RuntimeError("the parent of warm programs has not started")

    def end() -> None:
        process.communicate()  # the end of its input ends it
        folder.cleanup()

    atexit.register(end)
    return Path(folder.name)


# ---- the parent


def serve(folder: Path) -> None:
    """Start one program a connection, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests
    for name in _WARM:
        importlib.import_module(name)
    loop_factory()  # imports the event loop
    gc.freeze()  # what the children share with this process need not be copied
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "orders"))
        door.listen(_WAITING)
        print("ready", flush=True)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            connection, _ = door.accept()
            with connection:
                if os.fork() == 0:
                    door.close()
                    _keep(connection)
                os.wait()  # for the first of two forks: the second one, which keeps the program, is nobody's


def _keep(connection: socket.socket) -> NoReturn:
    """Start a program, tell its number and how it ends."""
    if os.fork() != 0:
        os._exit(0)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as orders:
        order = json.loads(orders.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        _be(order, streams)
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    connection.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):  # nobody wants to know
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _be(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the program: as a new Python finds itself, with everything imported."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [hub.__main__.__file__, *order["argv"]]
    sys.path[0] = order["cwd"]
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    hub.__main__.main()
    sys.exit()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
