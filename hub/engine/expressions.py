"""Expressions of hub.toml: JMESPath that cannot hang the hub. Owns the language, its bounds, and what an expression sees.

An expression is compiled when the project is loaded, with a bounded length and nesting, and evaluated with a budget of work: every visit
of a node costs one, and whatever walks through values or makes new ones pays for their size before it begins. So the largest effort is the
same for every document and every machine, and no clock decides about a result. The language has no regular expressions and no loops but
over what is there.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import log2
from typing import Any

from jmespath import exceptions, functions, parser, visitor

from hub.core.delivery import TriggerEvent
from hub.core.errors import ConfigError, HubError

MAX_CHARS = 1000
MAX_NESTING = 20
MAX_CHAIN = 100  # links of `a || b || c`; each is a frame of the interpreter
BUDGET = 20_000  # some 20 ms; a filter over a list of three thousand objects fits in
MAX_RESULT = 200_000  # values; more than any payload has
MAX_INPUT_DEPTH = 200  # deeper than any payload that is accepted
_CHARS_A_UNIT = 16  # what a text costs


class ExpressionError(HubError):
    """The expression cannot be evaluated on this document."""

    code = "expression"


class Expression:
    """A compiled expression. Made by `compile`; `text` is how it was written."""

    def __init__(self, text: str, tree: Any) -> None:
        self.text = text
        self._tree = tree

    @classmethod
    def compile(cls, text: str, where: str = "") -> Expression:
        """Return the expression. Raises: ConfigError with `where`, the path of its key, and the place of the mistake."""
        try:
            return cls(text, _parsed(text))
        except ValueError as error:
            raise ConfigError(f"{_short(text)} is not an expression: {error}", path=where) from None

    @classmethod
    def of_event(cls, text: str, where: str = "") -> Expression:
        """Return an expression over `document`. Raises: ConfigError, also for a name that no event has and that would always be null."""
        expression = cls.compile(text, where)
        for name in expression.names():
            if name not in EVENT_NAMES:
                near = difflib.get_close_matches(name, EVENT_NAMES, 1)
                advice = f"did you mean {near[0] if near else f'payload.{name}'}?"
                raise ConfigError(f'{_short(text)}: an event has no "{name}"; {advice} There are {", ".join(EVENT_NAMES)}', path=where)
        return expression

    def names(self) -> Iterator[str]:
        """Return the names that are looked up in the document itself; those within what was looked up may be any."""
        rest = [self._tree]
        while rest:
            node = rest.pop()
            if node["type"] == "field":
                yield node["value"]
            elif node["type"] != "expref":
                rest.extend(_children(node)[: 1 if node["type"] in _NARROWING else None])

    def evaluate(self, document: Mapping[str, Any]) -> Any:
        """Return the value in a document: a JSON value when the document is one, not too large to be written. Raises: ExpressionError."""
        value = self._value(document)
        if type(value) in _CONTAINERS:
            try:
                _Budget(MAX_RESULT).weigh(value)
            except _ExhaustedError:
                raise ExpressionError(f"{_short(self.text)} makes more than {MAX_RESULT:,} values of this document") from None
            except RecursionError:
                raise ExpressionError(f"{_short(self.text)}: its result is nested too deeply") from None
        return value

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether the value in a document counts as yes; see `is_true`. Raises: ExpressionError."""
        return is_true(self._value(document))

    def _value(self, document: Mapping[str, Any]) -> Any:
        try:
            return _Interpreter(_Budget(BUDGET)).visit(self._tree, document)
        except _ExhaustedError:
            raise ExpressionError(f"{_short(self.text)} is too much work on this document: more than {BUDGET:,} steps") from None
        except RecursionError:
            raise ExpressionError(f"{_short(self.text)}: the document is nested too deeply") from None
        except exceptions.JMESPathTypeError as error:  # its own text holds the value, however large
            wanted = " or ".join(map(str, error.expected_types))
            raise ExpressionError(f"{_short(self.text)}: {error.function_name}() takes {wanted}, not {error.actual_type}") from None
        except (exceptions.JMESPathError, ArithmeticError, ValueError, TypeError) as error:
            raise ExpressionError(f"{_short(self.text)}: {_one_line(error)}") from None


EVENT_NAMES = ("payload", "headers", "key", "subject", "metadata", "trigger")


def document(trigger: str, event: TriggerEvent) -> dict[str, Any]:
    """Return what expressions see of an event: EVENT_NAMES."""
    return {
        "payload": event.payload,
        "headers": event.headers,
        "key": event.key,
        "subject": event.subject,
        "metadata": event.metadata,
        "trigger": trigger,
    }


def is_true(value: Any) -> bool:
    """Whether a value counts as yes: everything but null, false, and what is empty. Zero is yes, as in JMESPath."""
    return not (value is None or value is False or (type(value) in _SIZED and len(value) == 0))


def text_of(value: Any) -> str:
    """Return a value of `evaluate` as JSON in one form only, so that equal values have equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


# ---- compiling


def _parsed(text: str) -> Any:
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has {len(text):,} characters; at most {MAX_CHARS:,} are allowed")
    try:
        tree = parser.Parser().parse(text).parsed
    except RecursionError:
        raise ValueError(_too_deep(MAX_NESTING)) from None
    except exceptions.JMESPathError as error:
        raise ValueError(_one_line(error)) from None
    _check_nesting(tree)
    _check_functions(tree)
    return tree


def _check_nesting(tree: Any) -> None:
    """Refuse what is nested too deeply. A chain such as `a || b || c` is written flat and counts as one level."""
    rest = [(tree, 1, 1)]
    while rest:
        node, level, chain = rest.pop()
        if level > MAX_NESTING:
            raise ValueError(_too_deep(MAX_NESTING))
        if chain > MAX_CHAIN:
            raise ValueError(f"more than {MAX_CHAIN} parts in one chain; use contains(`[…]`, …) for a list of values")
        for place, child in enumerate(_children(node)):
            link = place == 0 and child["type"] == node["type"] and node["type"] in _CHAINS
            rest.append((child, level if link else level + 1, chain + 1 if link else chain))


def _check_functions(tree: Any) -> None:
    known = functions.Functions.FUNCTION_TABLE
    rest = [tree]
    while rest:
        node = rest.pop()
        rest.extend(_children(node))
        if node["type"] != "function_expression":
            continue
        name = node["value"]
        if name not in known:
            raise ValueError(f"there is no function {name}(); there are: {', '.join(sorted(known))}")
        signature = known[name]["signature"]
        given, wanted = len(node["children"]), len(signature)
        if given < wanted or (given > wanted and not signature[-1].get("variadic")):
            raise ValueError(f"{name}() takes {wanted} argument{'s' * (wanted != 1)}, not {given}")


def _children(node: Any) -> list[Any]:
    return [child for child in node["children"] if isinstance(child, dict)]  # those of a slice are numbers


def _too_deep(levels: int) -> str:
    return f"it is nested more than {levels} levels deep"


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(":")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


# ---- evaluating

_CONTAINERS = frozenset({dict, list})
_SIZED = frozenset({dict, list, str})
_CHAINS = frozenset({"or_expression", "and_expression", "pipe", "subexpression", "index_expression"})
_NARROWING = frozenset({"subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"})


class _ExhaustedError(Exception):
    """The budget is spent."""


class _Budget:
    """The work that an evaluation may still do."""

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Pay for work that is about to be done. Raises: _ExhaustedError."""
        self.left -= units
        if self.left < 0:
            raise _ExhaustedError

    def weigh(self, value: Any) -> None:
        """Pay for a walk through all of a value, which may hold one part many times. Raises: _ExhaustedError, RecursionError."""
        rest = [(value, 0)]
        while rest:
            part, depth = rest.pop()
            kind = type(part)
            if kind is str:
                self.spend(1 + len(part) // _CHARS_A_UNIT)
            elif kind in _CONTAINERS:
                if depth > MAX_INPUT_DEPTH:
                    raise RecursionError
                self.spend(1 + len(part))
                rest.extend((child, depth + 1) for child in (part.values() if kind is dict else part))
            else:
                self.spend(1)


class _Functions(functions.Functions):
    """The functions of JMESPath; each pays for its arguments before it runs."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        """Call one. Raises: _ExhaustedError, JMESPathError."""
        given, budget = list(resolved_args), self._budget
        budget.spend(_CALL)
        for value in given:
            if function_name in _DEEP:
                budget.weigh(value)
            elif type(value) is str:
                budget.spend(1 + len(value) // _CHARS_A_UNIT)
            elif type(value) in _CONTAINERS:
                budget.spend(_size(value) * (_rounds(value) if function_name in _SORTING else 1))
        if function_name == "join" and type(given[0]) is str and type(given[1]) is list:
            budget.spend(len(given[0]) * len(given[1]) // _CHARS_A_UNIT)
        return super().call_function(function_name, given)


_CALL = 4  # units for a call itself, measured in visits
_DEEP = frozenset({"contains", "to_string"})  # they walk through all of a value
_SORTING = frozenset({"sort", "sort_by"})
_EQUALITY = frozenset({"eq", "ne"})


def _size(values: Any) -> int:
    """Return what the direct parts of a container cost; the parts of its parts are not looked at."""
    return 1 + len(values) + sum(len(part) for part in values if type(part) is str) // _CHARS_A_UNIT


def _rounds(values: Any) -> int:
    return 1 + int(log2(len(values) + 1)) // 4  # a comparison is several times cheaper than a visit


class _Interpreter(visitor.TreeInterpreter):
    """The interpreter of JMESPath, on a budget. One for each evaluation."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._dict_cls = dict
        self._functions = _Functions(budget)

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one node; everything comes through here."""
        budget = self._budget
        budget.left -= 1
        if budget.left < 0:
            budget.spend(0)
        return _METHODS[node["type"]](self, node, *args, **kwargs)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        """Compare two values. Equality walks through both."""
        left, right = (self.visit(child, value) for child in node["children"])
        if type(left) in _SIZED and type(left) is type(right):
            self._budget.weigh(left)
            self._budget.weigh(right)
        if node["value"] not in _EQUALITY and not (_is_number(left) and _is_number(right)) and not (type(left) is type(right) is str):
            return None
        return self.COMPARATOR_FUNC[node["value"]](left, right)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        """Merge lists, which may be much longer together than what made them."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._budget.spend(sum(len(element) if isinstance(element, list) else 1 for element in base))
        merged: list[Any] = []
        for element in base:
            if isinstance(element, list):
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    def visit_slice(self, node: Any, value: Any) -> Any:
        """Copy a part of a list."""
        if isinstance(value, list):
            self._budget.spend(len(value))
        return super().visit_slice(node, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_METHODS: dict[str, Callable[..., Any]] = {
    name.removeprefix("visit_"): getattr(_Interpreter, name) for name in dir(_Interpreter) if name.startswith("visit_")
}
