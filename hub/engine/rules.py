"""The rules of one trigger, compiled when the project is loaded: filter → key → map → schema.

Pure: an event in, an event out. A rule that cannot be evaluated refuses the event, with one exception: a faulty filter lets it pass, unless
`filter_error` says otherwise, because a mistake in a filter must never swallow events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from hub.core.delivery import TriggerEvent
from hub.core.errors import Rejected
from hub.engine.contracts import Contract
from hub.engine.expressions import Expression, ExpressionError, document, text_of
from hub.engine.flows import NO_FLOW, FlowRules

MAX_KEY_CHARS = 512  # a longer one becomes its hash: every key is indexed


class OnFault(StrEnum):
    """What a filter that cannot be evaluated does with the event."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the bus does with the events of a trigger before it creates instances."""

    filter: Expression | None = None
    filter_error: OnFault = OnFault.ACCEPT
    key: Expression | None = None
    map: Expression | None = None
    contract: Contract | None = None
    flow: FlowRules = NO_FLOW  # for whoever creates the instance; not applied here

    def apply(self, trigger: str, event: TriggerEvent, fault: Callable[[ExpressionError], object]) -> TriggerEvent | None:
        """Return the event as the workflow gets it; None = the filter says no. `fault` hears of a filter that let it pass by mistake.

        Raises: Rejected (`filter.invalid`, `key.invalid`, `map.invalid`, `payload.schema`).
        """
        if self.filter is not None or self.key is not None or self.map is not None:
            seen = document(trigger, event)
            if not self._lets_pass(seen, fault):
                return None
            if self.key is not None:
                event = replace(event, key=_key(_value(self.key, seen, "key")))
            if self.map is not None:
                event = replace(event, payload=_value(self.map, seen, "map"))
        if self.contract is not None:
            self.contract.check(event.payload)
        return event

    def _lets_pass(self, seen: dict[str, Any], fault: Callable[[ExpressionError], object]) -> bool:
        if self.filter is None:
            return True
        try:
            return self.filter.holds(seen)
        except ExpressionError as error:
            if self.filter_error is OnFault.REJECT:
                raise Rejected(f"the trigger's filter fails: {error.message}", code="filter.invalid") from error
            fault(error)
            return True


NO_RULES = Rules()


def _value(expression: Expression, seen: dict[str, Any], rule: str) -> Any:
    try:
        return expression.evaluate(seen)
    except ExpressionError as error:
        raise Rejected(f"the trigger's {rule} fails: {error.message}", code=f"{rule}.invalid") from error


def _key(value: Any) -> str | None:
    """Return a key for a value: a text as it is, null for an event that is never a duplicate, else its JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else text_of(value)
    if len(text) <= MAX_KEY_CHARS:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
