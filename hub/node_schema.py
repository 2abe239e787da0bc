"""The table `[node]` of hub.toml: what this node does of the project's work. It is what differs between nodes on one store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from hub.core.nodes import Role
from hub.values import COMMA_LIST, STRICT, Name


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The `[node]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    roles: Annotated[
        tuple[Role, ...],
        COMMA_LIST,
        Field(min_length=1, description="intake: triggers and the fetch handler; run: instances are executed."),
    ] = tuple(Role)
    workflows: Annotated[
        tuple[Name, ...], COMMA_LIST, Field(description="The workflows whose instances this node executes; none = all of the project.")
    ] = ()
