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
    roles: str | None = None  # this one and the next: names with commas between them
    workflows: str | None = None

    def settings(self) -> Settings:
        """Read the project's settings. Raises: ConfigError."""
        return load_settings(self.project, overrides=self.overrides())

    def overrides(self) -> dict[str, Any]:
        """Return the flags as settings."""
        flags: dict[str, dict[str, Any]] = {
            "server": {"host": self.host, "port": self.port},
            "node": {"roles": self.roles, "workflows": self.workflows},
        }
        given = {table: {key: value for key, value in keys.items() if value is not None} for table, keys in flags.items()}
        overrides: dict[str, Any] = {table: keys for table, keys in given.items() if keys}
        if self.data is not None:
            overrides["data"] = self.data
        return overrides
