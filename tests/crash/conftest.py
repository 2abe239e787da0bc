"""Crash tests run in forked processes, on real files and in real time; the tests themselves only give orders and judge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forks import Lives
from .kills import new_folder


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    """Return the fork server of all crash tests."""
    with Lives() as server:
        yield server


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a new folder, in memory if possible. After a failure its content lies in `tmp_path`."""
    private, failed = new_folder(), request.session.testsfailed
    yield private
    if request.session.testsfailed > failed:
        shutil.copytree(private, tmp_path / "left")
    shutil.rmtree(private)
