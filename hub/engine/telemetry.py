"""What the node counts about itself, in Prometheus text. Plain integers on the hot path; names and help texts in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Telemetry:
    """Counters of one node since its start, and gauges that are asked for when somebody looks."""

    created: int = 0
    duplicates: int = 0
    completed: int = 0
    errored: int = 0
    failed_attempts: int = 0
    recovered: int = 0
    trigger_restarts: int = 0
    resident: Callable[[], int] = int
    events: dict[tuple[str, str], int] = field(default_factory=dict)  # by trigger and outcome

    def attempt_failed(self) -> None:
        """Count one failed attempt of a step."""
        self.failed_attempts += 1

    def event(self, trigger: str, outcome: str) -> None:
        """Count one event of a trigger."""
        place = (trigger, outcome)
        self.events[place] = self.events.get(place, 0) + 1

    def events_of(self, trigger: str) -> dict[str, int]:
        """Return what became of the events of a trigger, by outcome."""
        return {outcome: number for (name, outcome), number in self.events.items() if name == trigger}

    def render(self) -> bytes:
        """Return the exposition text."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Rows(self))
        return generate_latest(registry)

    def rows(self) -> list[tuple[str, str, int]]:
        """Return name, help text and value of every series; a name that ends in _total is a counter."""
        return [
            ("hub_instances_created_total", "Instances created by this node.", self.created),
            ("hub_triggers_duplicate_total", "Trigger events whose key had been seen before.", self.duplicates),
            ("hub_triggers_rejected_total", "Trigger events that can never be accepted.", self._of("rejected")),
            ("hub_triggers_unavailable_total", "Trigger events refused because the store was away.", self._of("unavailable")),
            ("hub_instances_completed_total", "Instances that ended complete on this node.", self.completed),
            ("hub_instances_errored_total", "Instances that ended errored on this node.", self.errored),
            ("hub_attempts_failed_total", "Failed attempts of steps on this node.", self.failed_attempts),
            ("hub_instances_recovered_total", "Instances taken over from a node that died.", self.recovered),
            ("hub_trigger_restarts_total", "Restarts of trigger loops that had ended.", self.trigger_restarts),
            ("hub_instances_resident", "Instances in memory now.", self.resident()),
        ]

    def _of(self, outcome: str) -> int:
        return sum(number for (_, each), number in self.events.items() if each == outcome)


class _Rows:
    """The telemetry as a collector of prometheus_client."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Any]:
        """Yield one metric a row."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, text, value in self._telemetry.rows():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, text, value)
        events = CounterMetricFamily(
            "hub_trigger_events_total", "Events of triggers that this node has received, by outcome.", labels=("trigger", "outcome")
        )
        for place, number in sorted(self._telemetry.events.items()):
            events.add_metric(place, number)
        yield events
