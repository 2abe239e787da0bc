"""What `self.env.NAME` of a workflow is: create and steer its instances from handlers and from other workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, overload

from hub.core import codec
from hub.core.admission import BATCH, check_derived_id
from hub.core.errors import ErrorInfo, HubError, Rejected
from hub.core.labels import read_labels
from hub.core.model import Instance, Kind, Source, Status
from hub.core.ports import CreateRequest, Engine
from hub.core.retention import AS_THE_WORKFLOW, read_retention
from hub.core.writes import RestartPoint, Verb

_OF_ALL = ("params", "retention", "tags", "metadata")  # what instances can have in common
_OF_ONE = ("id", "idempotent", *_OF_ALL)
_IGNORED = ("locationHint", "location_hint")  # a hub stands where it stands
_CREATE_FORMS = "create takes keywords, or the same in one dict"
_BATCH_FORMS = "create_batch takes instances=[{…}, …], or count=… with params, or a plain list of dicts"
_KINDS = {"do": Kind.STEP, "sleep": Kind.SLEEP, "waitForEvent": Kind.EVENT, "workflow": Kind.CHILD}


class WorkflowBinding:
    """A workflow of the project, by its binding."""

    def __init__(self, engine: Engine, workflow: str) -> None:
        self._engine = engine
        self._workflow = workflow

    async def create(self, options: Mapping[str, Any] | None = None, /, **keywords: Any) -> WorkflowInstance:
        """Create an instance: `create(id="…", params={…}, retention={…})`, or the same in one dict. It is on disk when this returns.

        `retention` is `{"successRetention": duration, "errorRetention": duration}`; what it leaves out is as the workflow says. `tags=[…]`
        and `metadata={…}` are labels to find it by. With `idempotent=True` an instance of that id which was created with the same params
        is returned. Raises: Rejected (bad id, params or labels), Conflict (the id is taken), Unavailable.
        """
        created = await self._engine.create(self._request(_given(options, keywords, _CREATE_FORMS), _OF_ONE))
        return WorkflowInstance(self._engine, self._workflow, created.id)

    @overload
    async def create_batch(self, batch: Sequence[Mapping[str, Any]], /) -> list[WorkflowInstance]: ...
    @overload
    async def create_batch(self, batch: Mapping[str, Any] | None = None, /, **keywords: Any) -> dict[str, Any]: ...

    async def create_batch(self, batch: Any = None, /, **keywords: Any) -> Any:
        """Create 1 to 100 instances in one commit: `create_batch(instances=[{…}, …])` or `create_batch(count=3, params={…})`.

        The answer is `{"created": [instance, …], "errors": [{"index", "id", "code", "message"}, …]}`, both in the order of the request.
        Given a plain list, it returns a list of the instances and leaves out those whose id exists already, so that it can be repeated.
        Raises: Rejected (something of the batch can never be created: nothing was), Unavailable.
        """
        plain = isinstance(batch, list | tuple) and not keywords
        answer = await self._engine.create_batch(self._batch({"instances": batch} if plain else _given(batch, keywords, _BATCH_FORMS)))
        created = [WorkflowInstance(self._engine, self._workflow, one.id) for one in answer.created]
        if plain:
            return created
        errors = [{"index": error.index, "id": error.id, "code": error.code, "message": error.message} for error in answer.errors]
        return {"created": created, "errors": errors}

    async def delete_batch(self, ids: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        """Forget up to 100 instances: `{"deleted": [{"id"}], "errors": [{"id", "code", "message"}]}`; running ones are stopped."""
        if not 1 <= len(ids) <= BATCH:
            raise Rejected(f"a batch has 1 to {BATCH} ids, this one has {len(ids)}", code="batch.size")
        for id in ids:
            check_derived_id(id)
        deleted: list[dict[str, str]] = []
        errors: list[dict[str, str]] = []
        for id in dict.fromkeys(ids):
            try:
                await self._engine.delete(self._workflow, id)
                deleted.append({"id": id})
            except HubError as error:
                errors.append({"id": id, "code": error.code, "message": error.message})
        return {"deleted": deleted, "errors": errors}

    async def get(self, id: str) -> WorkflowInstance:
        """Return an existing instance. Raises: NotFound."""
        instance = await self._engine.instance(self._workflow, id)
        return WorkflowInstance(self._engine, self._workflow, instance.id)

    def _batch(self, given: Mapping[str, Any]) -> list[CreateRequest]:
        if ("count" in given) == ("instances" in given):
            told = '"count" and "instances" exclude each other' if "count" in given else _BATCH_FORMS
            raise Rejected(told, code="instance.invalid_options")
        if "count" in given:
            count = given["count"]
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= BATCH:
                raise Rejected(f"count: expected a whole number from 1 to {BATCH}, got {count!r}", code="batch.size")
            return [self._request({key: value for key, value in given.items() if key != "count"}, _OF_ALL)] * count
        _refuse_unknown(given, ("instances",), "")
        items = given["instances"]
        if not isinstance(items, list | tuple):
            raise Rejected(f"instances: expected a list, got {type(items).__name__}", code="instance.invalid_options")
        return [self._request(item, _OF_ONE, f"instances[{index}]: ") for index, item in enumerate(items)]

    def _request(self, options: Mapping[str, Any], known: tuple[str, ...], place: str = "") -> CreateRequest:
        if not isinstance(options, Mapping):
            raise Rejected(f"{place}expected an object, got {type(options).__name__}", code="instance.invalid_options")
        _refuse_unknown(options, known, place)
        params, retention, idempotent = options.get("params"), options.get("retention"), options.get("idempotent", False)
        if not isinstance(idempotent, bool) or (idempotent and options.get("id") is None):
            raise Rejected(f"{place}idempotent: True or False; a repetition is known by its id", code="instance.invalid_options")
        return CreateRequest(
            workflow=self._workflow,
            id=options.get("id"),
            params={} if params is None else params,
            source=Source.BINDING,
            retention=AS_THE_WORKFLOW if retention is None else read_retention(retention),
            labels=read_labels(options.get("tags"), options.get("metadata")),
            idempotent=idempotent,
        )


def _given(options: Any, keywords: Mapping[str, Any], forms: str) -> dict[str, Any]:
    """Join what was given in one dict and as keywords. Raises: Rejected when it is no dict."""
    if options is not None and not isinstance(options, Mapping):
        raise Rejected(f"{forms}, not {type(options).__name__}", code="instance.invalid_options")
    return {**(options or {}), **keywords}


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    unknown = [key for key in given if key not in known and key not in _IGNORED]
    if unknown:
        raise Rejected(f'{place}unknown key "{unknown[0]}"; there are {", ".join(known)}', code="instance.invalid_options")


def _joined(verb: str, options: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Join what a verb was given in one dict and as keywords. Raises: Rejected when it is no dict, or has a key that the verb lacks."""
    if options is not None and not isinstance(options, Mapping):
        raise Rejected(f"{verb}: expected a dict, got {type(options).__name__}", code="instance.invalid_options")
    _refuse_unknown(options or {}, tuple(keywords), f"{verb}: ")
    return {**keywords, **(options or {})}


def _point(origin: Any) -> RestartPoint:
    """Read where a restart begins. Raises: Rejected."""
    if not isinstance(origin, Mapping) or not isinstance(origin.get("name"), str):
        raise Rejected('restart: from names a step: {"from": {"name": "charge"}}', code="instance.invalid_options")
    _refuse_unknown(origin, ("name", "count", "type"), "restart: from: ")
    count, type = origin.get("count", 1), origin.get("type", "do")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise Rejected(f"restart: from.count is a whole number from 1, not {count!r}", code="instance.invalid_options")
    if type not in _KINDS:
        raise Rejected(f'restart: from.type is one of {", ".join(_KINDS)}, not "{type}"', code="instance.invalid_options")
    return RestartPoint(name=origin["name"], count=count, kind=_KINDS[type])


class WorkflowInstance:
    """A handle on one instance."""

    def __init__(self, engine: Engine, workflow: str, id: str) -> None:
        self._engine = engine
        self._workflow = workflow
        self.id = id

    async def status(self) -> dict[str, Any]:
        """Return `{"status", "output", "error", "rollback"}`; an error is `{"name", "message"}` or None. Raises: NotFound."""
        return status_of(await self._engine.instance(self._workflow, self.id))

    async def pause(self) -> None:
        """Let running steps finish, then stand still. Raises: Conflict."""
        await self._engine.steer(self._workflow, self.id, Verb.PAUSE)

    async def resume(self) -> None:
        """Go on; pending timers move by the time that it stood still. Raises: Conflict."""
        await self._engine.steer(self._workflow, self.id, Verb.RESUME)

    async def terminate(self, options: Mapping[str, Any] | None = None, /, *, rollback: bool = False, cascade: bool = False) -> None:
        """End it at once; running steps are cancelled. Raises: Conflict.

        `rollback` runs the rollback handlers first, `cascade` ends the workflows that it has started too; both may come in one dict.
        """
        given = _joined("terminate", options, {"rollback": rollback, "cascade": cascade})
        wishes = {"rollback": bool(given["rollback"]), "cascade": bool(given["cascade"])}
        await self._engine.steer(self._workflow, self.id, Verb.TERMINATE, **wishes, source=Source.BINDING)

    async def restart(self, options: Mapping[str, Any] | None = None) -> None:
        """Run it again from the start, or from a step: `restart({"from": {"name": "charge", "count": 1}})`. Raises: Rejected, Conflict."""
        origin = _joined("restart", options, {"from": None})["from"]
        await self._engine.restart(self._workflow, self.id, None if origin is None else _point(origin))

    async def send_event(self, event: Mapping[str, Any] | None = None, /, *, type: str | None = None, payload: Any = None) -> None:
        """Send an event: `send_event(type="approved", payload={…})`, or the same in one dict. Raises: Rejected, Conflict."""
        given = _joined("send_event", event, {"type": type, "payload": payload})
        await self._engine.send_event(self._workflow, self.id, given["type"] or "", given["payload"])

    async def subscribe(
        self, options: Mapping[str, Any] | None = None, /, *, cursor: int | None = None, filter: Collection[str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Iterate over its events, from its history and then live: `async for event in instance.subscribe(filter=["step_completed"])`.

        `cursor` is the `eventId` of the last event that was seen; both may come in one dict. Raises: NotFound, Rejected.
        """
        given = _joined("subscribe", options, {"cursor": cursor, "filter": filter})
        async for event in await self._engine.subscribe(self._workflow, self.id, given["cursor"], given["filter"]):
            yield event.shown()

    async def delete(self) -> None:
        """Forget it; a running one is stopped. Raises: NotFound."""
        await self._engine.delete(self._workflow, self.id)


def status_of(instance: Instance) -> dict[str, Any]:
    """Return the short status of an instance in the binding's shape."""
    error, rollback = instance.error, instance.rollback
    return {
        "status": instance.status.value,
        "output": codec.decode(instance.output) if instance.output is not None and instance.status is Status.COMPLETE else None,
        "error": _told(error),
        "rollback": None
        if rollback is None
        else {"outcome": "complete" if rollback.complete else "failed", "error": _told(rollback.error)},
    }


def _told(error: ErrorInfo | None) -> dict[str, str] | None:
    return {"name": error.name, "message": error.message} if error is not None else None
