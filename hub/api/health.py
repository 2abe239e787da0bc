"""The addresses that tell how the hub does: alive, ready, metrics, and the description of the API itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hub.api.operation import Call, Plain
from hub.api.results import Health
from hub.core.codec import dump_plain
from hub.core.errors import NotFound, Unavailable
from hub.core.ports import Engine

DOCS_TYPE = "text/html; charset=utf-8"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DocsPage = Callable[[Mapping[str, Any]], bytes]


class Vitals:
    """Handlers of the open addresses."""

    def __init__(
        self, engine: Engine, metrics: Callable[[], bytes], document: Callable[[], Mapping[str, Any]], docs: DocsPage | None = None
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._document = document
        self._docs = docs

    async def live(self, _call: Call[Any, Any]) -> Plain:
        """Answer as long as the event loop runs; asks nothing else."""
        return Plain(body=dump_plain(Health(status="ok")))

    async def ready(self, _call: Call[Any, Any]) -> Plain:
        """Answer 200 when the store answers, else 503 with the reason."""
        try:
            await self._engine.ready()
        except Unavailable as error:
            return Plain(status=503, body=dump_plain(Health(status="unavailable", reason=error.message)))
        return Plain(body=dump_plain(Health(status="ok")))

    async def metrics(self, _call: Call[Any, Any]) -> Plain:
        """Return the metrics in Prometheus' text format."""
        return Plain(body=self._metrics(), content_type=METRICS_TYPE)

    async def openapi(self, _call: Call[Any, Any]) -> Plain:
        """Return the OpenAPI document."""
        return Plain(body=dump_plain(self._document()))

    async def docs(self, _call: Call[Any, Any]) -> Plain:
        """Return the same as a page."""
        if self._docs is None:
            raise NotFound("this hub has no pages; /openapi.json describes the API", code="route.unknown")
        return Plain(body=self._docs(self._document()), content_type=DOCS_TYPE)
