"""PostgreSQL for tests: where there is one, and a private server that a test may stop, kill and start again.

A private server has a temporary folder of its own, a free port of 127.0.0.1, lets everybody in and syncs to the disk as a real one does.
Invariant: when a method returns, the server answers, or its processes are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg

LOCAL = "postgresql://postgres:postgres@127.0.0.1:5432/postgres"  # a server that asks for no password takes this one, too
INSTALL = "no PostgreSQL server is installed here; install one (Debian, Ubuntu: apt-get install postgresql)"
_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin", "usr/local/opt/postgresql*/bin")  # below /
_CONFIG = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = on
synchronous_commit = on
"""
_SYSTEM_USER = "postgres"  # the server refuses to run as root
_PATIENCE_S = 60.0  # recovery on a slow disk; only how long a broken server may keep the tests waiting
_LOOK_S = 0.02


def refused(url: str) -> str | None:
    """Return why a server lets nobody in at an address; None = it does."""

    async def connect() -> None:
        connection: Any = await asyncpg.connect(url, timeout=5)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:  # a thread: the caller may be on an event loop
        try:
            pool.submit(asyncio.run, connect()).result()
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            return f"{type(error).__name__}: {error}"
    return None


def binaries() -> Path | None:
    """Return the folder of the newest server that is installed; None = there is none."""
    found = [place for pattern in _PLACES for place in Path("/").glob(pattern) if (place / "initdb").exists()]
    if found:
        return max(found, key=lambda place: [int(number) for number in re.findall(r"\d+", str(place))])
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """A private server; inside `with` it runs until it is stopped or killed, and its folder is removed at the end."""

    def __init__(self) -> None:
        """Choose the installed server. Raises: FileNotFoundError when there is none."""
        place = binaries()
        if place is None:
            raise FileNotFoundError(INSTALL)
        self._binaries = place
        self._folder = Path(tempfile.mkdtemp(prefix="hub-postgres-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, _SYSTEM_USER, _SYSTEM_USER)
            self._user = {"user": _SYSTEM_USER, "group": _SYSTEM_USER, "extra_groups": []}
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def log(self) -> str:
        """What the server has written to its log."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "log").read_text(errors="replace")
        return ""

    def __enter__(self) -> PostgresServer:
        try:
            self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            with (self._folder / "data" / "postgresql.conf").open("a") as config:
                config.write(_CONFIG.format(port=self._port))
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def start(self) -> None:
        """Start it; returns when it lets clients in, after a kill when it has recovered."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data], cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, **self._user,  # a session of its own: a Ctrl-C is for the tests
            )  # fmt: skip
        look: list[str | Path] = [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        pause = threading.Event()
        for _ in range(round(_PATIENCE_S / _LOOK_S)):
            if subprocess.run(look, check=False).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            pause.wait(_LOOK_S)
        raise RuntimeError(f"PostgreSQL has not started; its log:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Stop it in good order; what its clients are doing is undone, and they are disconnected."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Let all its processes die at once; the next start recovers from the log."""
        self._signal(signal.SIGQUIT)

    def restart(self, *, kill: bool = False) -> None:
        """Stop or kill it and start it again."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *words], cwd=self._folder, check=False, capture_output=True, text=True, **self._user
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")

    def _end(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
