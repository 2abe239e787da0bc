"""Which program answers which query of the port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub.core.access import TokenQuery
from hub.core.audit import AuditQuery
from hub.core.delivery import DeliveryQuery, TriggerQuery
from hub.core.history import HistoryQuery
from hub.core.logs import LogQuery
from hub.core.model import InboxQuery, InstanceQuery, Page, VersionQuery, WorkflowQuery
from hub.core.nodes import NodeQuery
from hub.core.queues import QueueQuery
from hub.store import access, deliveries, instance_lists, lines, messages, nodes, reading
from hub.store.program import Program
from hub.store.totals import Totals

Query = (
    InstanceQuery | WorkflowQuery | VersionQuery | InboxQuery | HistoryQuery | LogQuery | DeliveryQuery | TriggerQuery
    | QueueQuery | TokenQuery | AuditQuery | NodeQuery
)  # fmt: skip

_PROGRAMS: dict[type, Callable[[Any], Program[Page[Any]]]] = {
    VersionQuery: reading.find_versions,
    InboxQuery: reading.find_events,
    HistoryQuery: reading.find_history,
    LogQuery: lines.find_lines,
    DeliveryQuery: deliveries.find_deliveries,
    TriggerQuery: deliveries.find_triggers,
    QueueQuery: messages.find_queues,
    TokenQuery: access.find_tokens,
    AuditQuery: access.find_entries,
    NodeQuery: nodes.find_nodes,
}


def answer_to(query: Query, totals: Totals) -> Program[Page[Any]]:
    """Return the program that reads one page. It raises Rejected when the cursor is not of such a list."""
    if isinstance(query, InstanceQuery):
        return instance_lists.find_instances(query, totals)
    if isinstance(query, WorkflowQuery):
        return reading.find_workflows(query, totals)
    return _PROGRAMS[type(query)](query)
