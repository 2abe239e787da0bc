"""Webhooks. Owns the order in which a request is looked at: rate → body → proof → reading → emit → answer.

Knows no server: it gets exact bytes and returns an `HttpReply`; a refusal is an error of the hub's tree, which the server words for all
addresses alike. Invariant: no 2xx leaves this module before `emit` has returned, so whoever was told "accepted" finds the event on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from hub.core.deliveries import holds_secret, provenance_of
from hub.core.delivery import DeliveryStatus, Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import HubError, NotFound, PayloadTooLarge, RateLimited, Rejected, Unavailable
from hub.core.model import FINAL, HttpReply, HttpRequest
from hub.core.ports import TriggerContext
from hub.core.preference import Wait
from hub.core.routing import ReadBody
from hub.core.values import changed
from triggers import _answers, _handshakes
from triggers._bodies import check_accepted, media_type, read_payload, unpack
from triggers._cloudevents import CloudEvent, read_events
from triggers._hook_config import HttpConfig, RateConfig
from triggers._rates import RateLimit, sender
from triggers._refusals import Strangers, unreadable, where
from triggers._signatures import Proven, Refused, delivery_id

PREFIX = "/hooks/"
IDEMPOTENCY_KEY = "idempotency-key"  # of callers that make their own ids, by the IETF draft
FINGERPRINT = "fingerprint"  # in the metadata: what a repeated request under the same Idempotency-Key must have, too
DEDUPE_HEADERS = ("webhook-id", "x-github-delivery", IDEMPOTENCY_KEY)

_MAX_KEY_CHARS = 512  # delivery ids are some 40 characters; a longer one is a mistake, and every key is indexed
_MAX_HEADER_CHARS = 4096  # of all kept headers together
_OWN = frozenset({ReceiptStatus.CREATED, ReceiptStatus.DUPLICATE, ReceiptStatus.DELIVERED})  # whose instance is the sender's


class HttpTrigger:
    """A webhook: each accepted request becomes one event, and a repeated delivery id answers with the first one."""

    Config: ClassVar[type] = HttpConfig

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._verifier = config.verify.verifier() if config.verify is not None else None
        self._dropped = self._verifier.headers if self._verifier is not None else frozenset()
        self._all, self._each = _rate(config.max_requests), _rate(config.max_requests_per_remote)
        self._handshakes = config.active_handshakes
        self._strangers = Strangers()
        self._remove: Callable[[], None] | None = None
        self._stopping = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, ctx: TriggerContext) -> None:
        """Serve the path. Raises: ConfigError when another trigger has it."""
        self._stopping.clear()
        self._remove = ctx.routes.add(
            PREFIX + (self._config.path or ctx.name),
            partial(self._receive, ctx),
            methods=(*self._config.methods, *_handshakes.methods(self._config)),
        )

    async def stop(self) -> None:
        """Stop serving, send those away that wait for an output, and let the others finish."""
        self._stopping.set()
        if self._remove is not None:
            self._remove()
            self._remove = None
        await self._idle.wait()

    async def _receive(self, ctx: TriggerContext, head: HttpRequest, read: ReadBody) -> HttpReply:
        """Answer a request. Raises: Rejected (never send it again), Unavailable (send it again)."""
        if self._stopping.is_set():  # routed just before the path was taken away
            raise Unavailable("the hub is stopping: send it again")
        self._in_flight += 1
        self._idle.clear()
        try:
            return await self._answer(ctx, head, read)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def _answer(self, ctx: TriggerContext, head: HttpRequest, read: ReadBody) -> HttpReply:
        if self._all is not None or self._each is not None:
            self._check_rate(ctx, head)
        setup = _handshakes.unsigned(self._config, head)
        if setup is not None:
            return setup
        if head.method not in self._config.methods:  # served for the sake of a setup request, and this is none
            return HttpReply(status=405, headers={"allow": ", ".join(self._config.methods)})
        wait = _answers.asked(head, self._config.wait)
        try:
            request = changed(head, body=await read(self._config.max_body))
        except PayloadTooLarge as error:
            await self._strangers.refused(ctx, head, error.code, error.message)
            raise
        proven = await self._proved(ctx, request)
        try:
            found = self._read(request, proven)
        except Rejected as error:
            await unreadable(ctx, request, self._kept_headers(request), error)
            raise
        if isinstance(found, list):
            return await self._emit_all(ctx, found)
        setup = _handshakes.signed(self._handshakes, request, found.payload)
        if setup is not None:
            return setup
        return await self._emit(ctx, found, wait)

    # ---- before the body is looked at

    def _check_rate(self, ctx: TriggerContext, head: HttpRequest) -> None:
        """Raise RateLimited where too much comes from one address, or at all. Looks at neither secrets nor store."""
        for limit, name in ((self._each, self._remote(head)), (self._all, "")):
            pause_s = limit.take(name, ctx.clock.monotonic()) if limit is not None else 0
            if pause_s:
                raise RateLimited("too many requests; try again later", retry_after=timedelta(seconds=pause_s))

    def _remote(self, head: HttpRequest) -> str:
        if self._each is None:
            return ""
        told = head.headers.get(self._config.remote_header, "") if self._config.remote_header else ""
        return sender(told.rpartition(",")[2].strip() or head.remote)

    async def _proved(self, ctx: TriggerContext, request: HttpRequest) -> Proven | None:
        """Return what the sender has proven of who it is. Raises: Rejected, which says nothing of what was wrong."""
        if self._verifier is None or self._config.verify is None:
            return None
        try:
            return self._verifier.check(request, ctx.clock.now())
        except Refused as refused:
            code = "unauthorized"
            await self._strangers.refused(ctx, request, code, str(refused))
            raise Rejected("the request is not accepted", code=code if self._config.verify.status == 401 else "rejected") from None

    # ---- request → events

    def _read(self, request: HttpRequest, proven: Proven | None) -> TriggerEvent | list[TriggerEvent]:
        """Turn a request into the event that it announces, or the events of a batch. Raises: Rejected with a code of `payload.…`."""
        content_type = request.headers.get("content-type", "")
        if request.body:
            check_accepted(media_type(content_type), self._config.accept)
        body = unpack(request.headers.get("content-encoding", ""), request.body, self._config.max_body)
        clouds = read_events(request.headers, body)
        headers, metadata = self._kept_headers(request), self._metadata(request)
        if isinstance(clouds, list):
            return [_of_cloud(cloud, cloud.key, headers, metadata) for cloud in clouds]
        if clouds is not None:
            key = self._key(request, proven, clouds.data, clouds.key)
            return _of_cloud(clouds, key, headers, metadata)
        payload = read_payload(content_type, body)
        key = self._key(request, proven, payload)
        if key is not None and key == request.headers.get(IDEMPOTENCY_KEY):  # an id of the sender's own making, which may name two things
            metadata[FINGERPRINT] = hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()
        return TriggerEvent(payload=payload, key=key, headers=headers, metadata=metadata)

    def _key(self, request: HttpRequest, proven: Proven | None, payload: Any, own: str | None = None) -> str | None:
        if self._config.dedupe_header is not None:
            if proven is not None and proven.scheme.header == self._config.dedupe_header:
                return proven.digest
            return dedupe_key(self._config.dedupe_header, request.headers)
        if own is None and proven is not None:
            own = delivery_id(proven, request, payload)
        return dedupe_key(None, request.headers) if own is None else _checked_key(own, "the id of the delivery")

    def _kept_headers(self, request: HttpRequest) -> dict[str, str]:
        return kept_headers(request.headers, self._dropped)

    def _metadata(self, request: HttpRequest) -> dict[str, Any]:
        told = where(request)
        if request.query:
            left_out = self._verifier.queries if self._verifier is not None else frozenset()
            shown = {name: value for name, value in request.query.items() if not holds_secret(name) and name not in left_out}
            told["query"] = {_unicode(name): _unicode(value) for name, value in shown.items()}
        if self._config.verify is not None:
            told["verified"] = self._config.verify.preset
        return told

    # ---- events → answer

    async def _emit(self, ctx: TriggerContext, event: TriggerEvent, wait: Wait | None) -> HttpReply:
        receipt = await ctx.emit(event)
        if receipt.status is ReceiptStatus.DUPLICATE and FINGERPRINT in event.metadata:
            await self._check_same(ctx, event, receipt)
        if wait is None:
            return _answers.accepted(ctx, receipt, self._config.reply)
        if receipt.status in _OWN and receipt.workflow is not None and receipt.instance_id is not None:
            with contextlib.suppress(NotFound, Unavailable):  # the event is on disk: an error would bring it again
                instance = await ctx.instance(receipt.workflow, receipt.instance_id, wait.timeout)  # at once when the hub stops
                if instance.status in FINAL:
                    return _answers.ended(ctx, instance, wait)
        return _answers.unended(ctx, receipt, self._config.reply, wait)

    async def _check_same(self, ctx: TriggerContext, event: TriggerEvent, receipt: Receipt) -> None:
        """Refuse another request under an Idempotency-Key that is taken. Raises: Rejected; it is stored as a delivery."""
        if receipt.workflow is None or receipt.instance_id is None:
            return
        try:
            first = provenance_of(await ctx.instance(receipt.workflow, receipt.instance_id))
        except NotFound:  # it was deleted, and only its key is remembered
            return
        if first is None or first.key != event.key or first.metadata.get(FINGERPRINT) in (None, event.metadata[FINGERPRINT]):
            return
        error = Rejected("this Idempotency-Key belongs to another request; make a new key for each request", code="payload.key_reused")
        await ctx.keep(event, DeliveryStatus.REJECTED, code=error.code, message=error.message, instance_id=receipt.instance_id)
        raise error

    async def _emit_all(self, ctx: TriggerContext, events: list[TriggerEvent]) -> HttpReply:
        """Emit a batch. Raises: Unavailable when one could not be stored: the sender repeats all, and finds the others as duplicates."""
        results = await asyncio.gather(*(ctx.emit(event) for event in events), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Rejected):
                raise result
        told: list[Receipt | HubError] = [result for result in results if isinstance(result, Receipt | HubError)]
        return _answers.batch(ctx, told, self._config.reply)


def _rate(config: RateConfig | None) -> RateLimit | None:
    return None if config is None else RateLimit(config.limit, config.period, config.burst)


def _of_cloud(cloud: CloudEvent, key: str | None, headers: dict[str, str], metadata: Mapping[str, Any]) -> TriggerEvent:
    return TriggerEvent(
        payload=cloud.data,
        key=key,
        subject=cloud.subject,
        headers=headers,
        metadata={**metadata, "cloudevent": cloud.attributes},
        occurred_at=cloud.occurred_at,
    )


def dedupe_key(configured: str | None, headers: Mapping[str, str]) -> str | None:
    """Return the sender's id of the delivery, which stays the same when it sends again; None = it gave none. Raises: Rejected."""
    for name in (configured,) if configured else DEDUPE_HEADERS:
        key = headers.get(name, "").strip()
        if key:
            return _checked_key(key, f"the header {name}")
    return None


def _checked_key(key: str, what: str) -> str:
    if len(key) > _MAX_KEY_CHARS:
        raise Rejected(f"{what} is longer than {_MAX_KEY_CHARS} characters", code="payload.dedupe_key")
    return _unicode(key)


def kept_headers(headers: Mapping[str, str], dropped: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the headers that may be stored: without credentials and proofs, and no more than 4 KiB of them."""
    kept: dict[str, str] = {}
    room = _MAX_HEADER_CHARS
    for name, value in headers.items():
        if holds_secret(name) or name in dropped:
            continue
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[name.lower()] = _unicode(value)
    return kept


def _unicode(value: str) -> str:
    """Header bytes that are not UTF-8 arrive as lone surrogates, which JSON cannot hold."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
