"""A workflow as the runner knows it: how to make one and run it with the event of an instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hub.core import codec
from hub.core.deliveries import provenance_of
from hub.core.model import Instance
from hub.core.workflow import WorkflowEntrypoint, WorkflowEvent
from hub.engine.step import Step


@dataclass(frozen=True, slots=True)
class Program:
    """How to make a workflow, and how many steps an instance may have."""

    make: Callable[[], WorkflowEntrypoint]
    steps: int

    def run(self, instance: Instance, step: Step) -> Awaitable[Any]:
        """Run the program of an instance and return its output."""
        event = WorkflowEvent(
            payload=codec.decode(instance.params),
            timestamp=instance.created_at,
            instance_id=instance.id,
            workflow_name=instance.workflow,
            schedule=instance.schedule,
            trigger=provenance_of(instance),
        )
        return self.make().run(event, step)
