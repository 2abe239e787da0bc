"""Flow control of the project: the declared rules with their compiled keys, and what they come to for one event.

Pure: a document in, a `Flow` out. Nothing is decided here; the store does that, in the transaction that creates the instance. Whoever has
no rules gets the very value `flow.NONE`, by which the store knows that there is nothing to ask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hub.core import codec
from hub.core.delivery import TriggerEvent
from hub.core.errors import Rejected
from hub.core.flow import NONE, Flow, Singleton
from hub.engine.expressions import Expression, ExpressionError, document, text_of

MAX_KEY_CHARS = 300  # of the text of a key's value; a longer one becomes its hash: every key is indexed
LONGEST_HEAD_START_S = 600.0
_CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Key:
    """What a rule counts by. `scope` says where the rule was declared; without an expression it counts everything there."""

    scope: str
    expression: Expression | None = None

    def of(self, seen: Mapping[str, Any]) -> str:
        """Return the key for a document; keys of different rules never meet. Raises: ExpressionError."""
        if self.expression is None:
            return f"{self.scope}\nnull"
        return f"{self.scope} {self.expression.text}\n{_text(self.expression.evaluate(seen))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRules:
    """The rules of one workflow or trigger. `rules` are fields of `Flow` whose keys are still empty, `keys` what fills them."""

    rules: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Key | tuple[Key, ...]] = field(default_factory=dict)
    priority: Expression | None = None  # of seconds

    def under(self, own: FlowRules) -> FlowRules:
        """Return these rules with those of a trigger over them, rule by rule."""
        rules, keys = {**self.rules, **own.rules}, {**self.keys, **own.keys}
        return FlowRules(rules=rules, keys=keys, priority=own.priority or (None if "priority" in own.rules else self.priority))

    def evaluate(self, seen: Mapping[str, Any]) -> Flow:
        """Return the flow for a document. Raises: Rejected (`flow.invalid`)."""
        if not self.rules and self.priority is None:
            return NONE
        values = dict(self.rules)
        rule = "priority"
        try:
            if self.priority is not None:
                values["priority"] = _head_start(self.priority.evaluate(seen))
            for rule, key in self.keys.items():
                if isinstance(key, Key):
                    values[rule] = replace(values[rule], key=key.of(seen))
                else:
                    values[rule] = tuple(replace(each, key=one.of(seen)) for each, one in zip(values[rule], key, strict=True))
        except ExpressionError as error:
            raise Rejected(f"the flow's {rule} fails: {error.message}", code="flow.invalid") from error
        return Flow(**values)


NO_FLOW = FlowRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRule:
    """Which events of a trigger cancel which instances of a workflow: those for which both expressions have the same value."""

    workflow: str
    trigger: str
    event: Expression
    params: Expression

    def of_event(self, seen: Mapping[str, Any]) -> str | None:
        """Return the key that an event cancels; None = no instance at all. Raises: ExpressionError."""
        return self._key(self.event.evaluate(seen))

    def of_params(self, params: Any) -> str | None:
        """Return the key under which an instance with these params can be cancelled; None = it cannot. Raises: ExpressionError."""
        return self._key(self.params.evaluate(params))

    def _key(self, value: Any) -> str | None:
        return None if value is None else f"{self.workflow}/{self.trigger} {self.params.text}\n{_text(value)}"


class Flows:
    """The flow control of all workflows and triggers, each by name."""

    def __init__(
        self,
        workflows: Mapping[str, FlowRules] | None = None,
        triggers: Mapping[str, FlowRules] | None = None,
        cancels: Sequence[CancelRule] = (),
    ) -> None:
        self._workflows = dict(workflows or {})
        self._triggers = dict(triggers or {})
        self._of_workflow = {name: [rule for rule in cancels if rule.workflow == name] for name in {rule.workflow for rule in cancels}}
        self._of_trigger = {name: [rule for rule in cancels if rule.trigger == name] for name in {rule.trigger for rule in cancels}}

    def of_event(self, trigger: str, workflow: str, event: TriggerEvent) -> Flow:
        """Return the flow for an event of a trigger. Raises: Rejected."""
        rules, own = self._workflows.get(workflow, NO_FLOW), self._triggers.get(trigger)
        if own is not None:
            rules = rules.under(own)
        flow = NONE
        if rules is not NO_FLOW or workflow in self._of_workflow:
            flow = self._flow(rules, workflow, document(trigger, event), event.payload)
        if flow.debounce is not None and event.occurred_at is not None:
            flow = replace(flow, occurred_at=event.occurred_at)
        overlap = event.overlap
        if overlap is None and event.schedule is not None and not (flow.singleton or flow.batch or flow.debounce):
            overlap = event.overlap_default
        if overlap is not None:  # it is about the instances that the flow counts, if it does, else about those of the trigger
            counted = flow.singleton.key if flow.singleton is not None else Key(f"trigger/{trigger}").of({})
            flow = replace(flow, singleton=Singleton(key=counted, overlap=overlap))
        return flow

    def of_params(self, workflow: str, encoded: bytes) -> Flow:
        """Return the flow for an instance that no trigger creates, by its encoded params. Raises: Rejected."""
        rules = self._workflows.get(workflow, NO_FLOW)
        if rules is NO_FLOW and workflow not in self._of_workflow:
            return NONE
        params = codec.decode(encoded)  # as the instance will see them, whatever object the caller has given
        seen = {"payload": params, "headers": {}, "key": None, "subject": None, "metadata": {}, "trigger": None}
        return self._flow(rules, workflow, seen, params)

    def cancels(self, trigger: str) -> bool:
        """Whether events of a trigger cancel instances."""
        return trigger in self._of_trigger

    def cancelled(self, trigger: str, event: TriggerEvent) -> list[tuple[str, str]]:
        """Return the keys that an event of a trigger cancels, each with the reason for people. Raises: Rejected."""
        seen = document(trigger, event)
        found = []
        try:
            for rule in self._of_trigger.get(trigger, ()):
                key = rule.of_event(seen)
                if key is not None:
                    found.append((key, f'an event of trigger "{trigger}" cancelled it: {rule.event.text} is {key.rpartition(chr(10))[2]}'))
        except ExpressionError as error:
            raise Rejected(f"cancel_on of the workflow fails: {error.message}", code="flow.invalid") from error
        return found

    def _flow(self, rules: FlowRules, workflow: str, seen: Mapping[str, Any], params: Any) -> Flow:
        flow = rules.evaluate(seen)
        try:
            found = [rule.of_params(params) for rule in self._of_workflow.get(workflow, ())]
        except ExpressionError as error:
            raise Rejected(f"cancel_on of the workflow fails: {error.message}", code="flow.invalid") from error
        keys = tuple(key for key in found if key is not None)
        return replace(flow, cancels=keys) if keys else flow


def _text(value: Any) -> str:
    text = text_of(value)
    if len(text) <= MAX_KEY_CHARS:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _head_start(value: Any) -> timedelta:
    """Return a head start for a number of seconds, within its range; anything else is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return timedelta(0)
    return timedelta(seconds=min(float(value), LONGEST_HEAD_START_S))
