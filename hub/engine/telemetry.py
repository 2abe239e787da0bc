"""What the node counts about itself, in Prometheus text. Plain integers on the hot path; names and help texts in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Telemetry:
    """Counters of one node since its start, and gauges that are asked for when somebody looks."""

    created: int = 0
    duplicates: int = 0
    rejected: int = 0
    unavailable: int = 0
    completed: int = 0
    errored: int = 0
    failed_attempts: int = 0
    recovered: int = 0
    trigger_restarts: int = 0
    resident: Callable[[], int] = int

    def attempt_failed(self) -> None:
        """Count one failed attempt of a step."""
        self.failed_attempts += 1

    def render(self) -> bytes:
        """Return the exposition text."""
        lines: list[str] = []
        for name, kind, text, value in self._rows():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def _rows(self) -> list[tuple[str, str, str, int]]:
        return [
            ("hub_instances_created_total", "counter", "Instances created by this node.", self.created),
            ("hub_triggers_duplicate_total", "counter", "Trigger events whose key had been seen before.", self.duplicates),
            ("hub_triggers_rejected_total", "counter", "Trigger events that can never be accepted.", self.rejected),
            ("hub_triggers_unavailable_total", "counter", "Trigger events refused because the store was away.", self.unavailable),
            ("hub_instances_completed_total", "counter", "Instances that ended complete on this node.", self.completed),
            ("hub_instances_errored_total", "counter", "Instances that ended errored on this node.", self.errored),
            ("hub_attempts_failed_total", "counter", "Failed attempts of steps on this node.", self.failed_attempts),
            ("hub_instances_recovered_total", "counter", "Instances taken over from a node that died.", self.recovered),
            ("hub_trigger_restarts_total", "counter", "Restarts of trigger loops that had ended.", self.trigger_restarts),
            ("hub_instances_resident", "gauge", "Instances in memory now.", self.resident()),
        ]
