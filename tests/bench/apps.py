"""A whole hub of the bench: the real `App` with a project that is written for the measurement."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.app import App
from hub.cli import logs
from hub.settings import load_settings

_CODE = Path(__file__).parent / "project" / "three_steps.py"
_PROJECT = """
name = "bench"
main = "three_steps.py"

[[workflows]]
name = "three-steps"
class_name = "ThreeSteps"

"""


@asynccontextmanager
async def app_with(folder: Path, triggers: str = "") -> AsyncIterator[App]:
    """Run a hub whose project has these triggers for the workflow of three steps; its data is in `folder`."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    shutil.copy(_CODE, project)
    (project / "hub.toml").write_text(_PROJECT + triggers)
    settings = load_settings(project, overrides={"data": folder, "server": {"port": 0}}, environ={})
    logs.configure(settings.log.level, settings.log.format)
    app = App(settings)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
