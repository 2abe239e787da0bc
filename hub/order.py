"""What a command line asks of a project: its folder, and the flags that stand over its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.settings import Settings, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for; None leaves it to the settings."""

    project: Path
    host: str | None = None
    port: int | None = None
    data: Path | None = None

    def settings(self) -> Settings:
        """Read the project's settings. Raises: ConfigError."""
        return load_settings(self.project, overrides=self.overrides())

    def overrides(self) -> dict[str, Any]:
        """Return the flags as settings."""
        server = {key: value for key, value in (("host", self.host), ("port", self.port)) if value is not None}
        overrides: dict[str, Any] = {"server": server} if server else {}
        if self.data is not None:
            overrides["data"] = self.data
        return overrides
