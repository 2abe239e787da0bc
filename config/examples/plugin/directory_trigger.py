"""A trigger kind of one's own: every file that is put into a folder starts an instance with the file's content.

Shows all that a kind must do. It inherits nothing: a class with `Config`, `start` and `stop` is a trigger (`hub.core.ports.Trigger`).
`emit` returns only when the instance is on disk; only then the file is moved to `done/`, so a hub that dies in between finds it again, and
the key, which is the same then, creates nothing twice. What can never be accepted goes to `failed/`; what cannot be stored now stays.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from hub.core.delivery import Phase, TriggerEvent
from hub.core.errors import ConfigError, Rejected, Unavailable
from hub.core.ports import TriggerContext


class DirectoryConfig(BaseModel):
    """The keys of a `[[triggers]]` table of this kind; an unknown one is refused, with the nearest name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder to watch, relative to this file; it is made when it is missing.")
    pattern: str = Field(default="*", min_length=1, description="Which files, such as *.csv.")
    every_s: float = Field(default=1.0, ge=0.05, le=3600, description="Seconds between two looks.")


class DirectoryTrigger:
    """Watches one folder."""

    Config: ClassVar[type] = DirectoryConfig

    def __init__(self, config: DirectoryConfig) -> None:
        self._config = config
        self._folder = Path(__file__).parent / config.folder
        self._sizes: dict[str, int] = {}  # of files at the last look: one that still grows is left alone
        self._looking = asyncio.Lock()
        self._stopped = False

    async def start(self, ctx: TriggerContext) -> None:
        """Make the folders and begin to look. Raises: ConfigError when they cannot be made."""
        try:
            for folder in (self._folder, self._folder / "done", self._folder / "failed"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self._folder} cannot be watched: {error.strerror}; choose a folder that can be written") from error
        self._stopped = False
        ctx.supervise(partial(self._watch, ctx), label="watch")  # runs the loop again, with back-off, should it ever fail

    async def stop(self) -> None:
        """Wait for the look under way; none follows."""
        self._stopped = True
        async with self._looking:
            pass

    async def _watch(self, ctx: TriggerContext) -> None:
        while True:
            async with self._looking:
                if not self._stopped and not ctx.paused:  # while it is paused the files wait where they are
                    await self._look(ctx)
            await ctx.clock.sleep(self._config.every_s)  # the hub's clock, so that tests need not wait

    async def _look(self, ctx: TriggerContext) -> None:
        """Emit every file whose size has not changed since the last look."""
        for path in await asyncio.to_thread(self._settled):  # a slow disk holds up nothing else
            await self._take(ctx, path)
        ctx.report(Phase.LISTENING, folder=str(self._folder), waiting=len(self._sizes))

    def _settled(self) -> list[Path]:
        files = sorted(path for path in self._folder.glob(self._config.pattern) if path.is_file())
        before, self._sizes = self._sizes, {path.name: path.stat().st_size for path in files}
        return [path for path in files if before.get(path.name) == self._sizes[path.name]]

    async def _take(self, ctx: TriggerContext, path: Path) -> None:
        try:
            await ctx.emit(await asyncio.to_thread(read_file, path))
        except Rejected as error:  # never send it again; the hub has kept it as a delivery, with the reason
            ctx.log.warning("directory.refused", file=path.name, error=error.message)
            await asyncio.to_thread(path.rename, self._folder / "failed" / path.name)
        except Unavailable:  # send it again: the file stays, and the next look finds it
            ctx.log.info("directory.later", file=path.name)
        else:
            await asyncio.to_thread(path.rename, self._folder / "done" / path.name)


def read_file(path: Path) -> TriggerEvent:
    """Turn a file into an event. The key is the same for the same file, and another one once it has been written anew."""
    stat, content = path.stat(), path.read_bytes()
    payload: dict[str, Any] = {"name": path.name, "size": len(content)}
    try:
        payload["text"] = content.decode()
    except UnicodeDecodeError:
        payload["base64"] = base64.b64encode(content).decode()
    return TriggerEvent(
        payload=payload,
        key=f"{path.name}:{stat.st_mtime_ns}:{stat.st_size}",
        subject=path.name,
        occurred_at=datetime.fromtimestamp(stat.st_mtime, UTC),
    )
