"""Trigger Hub: the public names that a workflow author imports."""

from hub.core.errors import NonRetryableError, StepFailed, StepTimeout, WaitTimeout
from hub.core.web import Request, Response
from hub.core.workflow import Env, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

__all__ = [
    "Env",
    "NonRetryableError",
    "Request",
    "Response",
    "StepFailed",
    "StepTimeout",
    "WaitTimeout",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowStep",
]
