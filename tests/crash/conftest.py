"""Crash tests run in forked processes, on real files and in real time; the tests themselves only give orders and judge."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forks import Lives

_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    """Return the fork server of all crash tests."""
    with Lives() as server:
        yield server


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder on a file system in memory, where there is one. After a failure its content lies in `tmp_path`.

    What a killed process leaves is in the kernel's hands, whatever lies below; without a slow disk a life gets further in its milliseconds.
    """
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    private = Path(tempfile.mkdtemp(prefix="hub-crash-", dir=_MEMORY))
    failed = request.session.testsfailed
    yield private
    if request.session.testsfailed > failed:
        shutil.copytree(private, tmp_path / "left")
    shutil.rmtree(private)
