"""What is checked of every instance before it is created, whoever asks for it: the bus, or a workflow that starts another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from hub.core import codec
from hub.core.admission import check_size, unknown_workflow
from hub.core.clock import Clock
from hub.core.deliveries import encode_provenance
from hub.core.errors import Rejected
from hub.core.ids import new_id
from hub.core.model import FOR_EVER, NewInstance, Parent, Retention
from hub.core.ports import CreateRequest
from hub.engine.flows import Flows


class Intake:
    """Turns requests into instances to be created.

    `versions` holds the id of the current version by workflow name, `retention` how long instances are kept by workflow name, `flows` what
    else may keep them from starting at once.
    """

    def __init__(
        self,
        versions: Mapping[str, str],
        retention: Mapping[str, Retention],
        clock: Clock,
        payload_bytes: int,
        flows: Flows | None = None,
    ) -> None:
        self.flows = flows or Flows()
        self._versions = versions
        self._retention = retention
        self._clock = clock
        self._payload_bytes = payload_bytes

    def admit(self, request: CreateRequest, check_id: Callable[[str], str], parent: Parent | None = None) -> NewInstance:
        """Return the instance that the request asks for. Raises: NotFound (workflow), Rejected (id, params)."""
        if request.workflow not in self._versions:
            raise unknown_workflow(request.workflow, self._versions)
        now = self._clock.now()
        return NewInstance(
            workflow=request.workflow,
            id=new_id(now) if request.id is None else check_id(request.id),
            generated_id=request.id is None,
            params=check_size(_encoded(request.params), self._payload_bytes, "payload"),
            created_at=now,
            source=request.source,
            version=self._versions[request.workflow],
            trigger=request.trigger,
            dedupe_key=request.dedupe_key,
            schedule=request.schedule,
            retention=request.retention.over(self._retention.get(request.workflow, FOR_EVER)),
            parent=parent,
            labels=request.labels,
            provenance=None if request.provenance is None else encode_provenance(request.provenance),
        )

    def now(self) -> datetime:
        """Return the time at which something comes in."""
        return self._clock.now()

    def version_of(self, workflow: str) -> str | None:
        """Return the version of a workflow's code that this node runs."""
        return self._versions.get(workflow)


def _encoded(params: Any) -> bytes:
    try:
        return codec.encode(params, what="params")
    except (TypeError, ValueError) as error:
        raise Rejected(str(error), code="payload.not_serialisable") from error
