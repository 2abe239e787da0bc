"""The route table: every fixed address of the hub, once. Feeds the router, the access rule and the OpenAPI document.

Webhooks (`/hooks/…`) and the project's fetch handler are not rows: their addresses belong to the project (`gateway.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hub.api import account_shapes, job_shapes, queue_shapes, results, shapes, token_shapes, trigger_shapes
from hub.api.accounts import Accounts
from hub.api.health import DOCS_TYPE, METRICS_TYPE, Vitals
from hub.api.instances import Instances
from hub.api.jobs import Jobs
from hub.api.local import LOCAL_ROOT, LocalDoor, LocalInstanceListQuery, LocalWorkflowListQuery
from hub.api.nodes import Nodes
from hub.api.nodes import rows as _node_rows
from hub.api.operation import Operation
from hub.api.queues import Queues
from hub.api.tokens import Tokens
from hub.api.triggers import Triggers
from hub.api.workflows import Workflows
from hub.core.access import Scope

API_ROOT = "/client/v4"

_ACCOUNTS = API_ROOT + "/accounts"
_WORKFLOWS = API_ROOT + "/accounts/{account}/workflows"
_TRIGGERS = API_ROOT + "/accounts/{account}/triggers"
_TRIGGER = _TRIGGERS + "/{trigger}"
_DELIVERIES = API_ROOT + "/accounts/{account}/deliveries"
_DELIVERY = _DELIVERIES + "/{delivery}"
_QUEUES = API_ROOT + "/accounts/{account}/queues"
_QUEUE = _QUEUES + "/{queue}"
_TOKENS = _ACCOUNTS + "/{account}/tokens"
_WORKFLOW = _WORKFLOWS + "/{workflow}"
_INSTANCES = _WORKFLOW + "/instances"
_INSTANCE = _INSTANCES + "/{instance}"

_NO_WORKFLOW = ("workflow.not_found",)
_NO_INSTANCE = ("workflow.not_found", "instance.not_found")
_BAD_INSTANCE = ("instance.invalid_id", "instance.invalid_retention", "instance.invalid_labels")
_NO_TRIGGER = ("trigger.not_found",)
_NO_SCHEDULE = ("trigger.not_found", "trigger.no_schedule")
_NO_DELIVERY = ("delivery.not_found",)
_REFUSED = ("rejected", "payload.schema", "overloaded", "unavailable", "trigger.disabled")


def operations(  # noqa: PLR0913, PLR0917  # one parameter for each resource
    accounts: Accounts,
    workflows: Workflows,
    instances: Instances,
    jobs: Jobs,
    triggers: Triggers,
    queues: Queues,
    tokens: Tokens,
    nodes: Nodes,
    local: LocalDoor,
    vitals: Vitals,
) -> tuple[Operation, ...]:
    """Return the table. Where two paths match the same address, the more exact one stands first."""
    of_workflows = (*_workflow_rows(workflows), *_collection_rows(instances), *_instance_rows(instances))
    return (
        *_account_rows(accounts),
        *of_workflows,
        *_job_rows(jobs),
        *_trigger_rows(triggers),
        *_delivery_rows(triggers),
        *_queue_rows(queues),
        *_token_rows(tokens),
        *_node_rows(nodes, _ACCOUNTS + "/{account}"),
        *_local_rows(of_workflows, local),
        *_open_rows(vitals),
    )


def _account_rows(accounts: Accounts) -> tuple[Operation, ...]:
    """Return what a client asks about itself."""
    return (
        _read(
            "listAccounts", _ACCOUNTS, accounts.list, "List the accounts that the token opens.",
            query=account_shapes.AccountListQuery, result=list[account_shapes.AccountItem], listing=True,
        ),
        _read("getAccount", _ACCOUNTS + "/{account}", accounts.get, "Read one account.", result=account_shapes.AccountItem),
        _read(
            "verifyAccountToken", _ACCOUNTS + "/{account}/tokens/verify", accounts.token, "Whether the token works.",
            result=account_shapes.TokenItem,
        ),
        _read(
            "listMemberships", API_ROOT + "/memberships", accounts.memberships, "List what the token may do, by account.",
            query=shapes.PageQuery, result=list[account_shapes.MembershipItem], listing=True,
        ),
        _read("getUser", API_ROOT + "/user", accounts.user, "Read who the caller is.", result=account_shapes.UserItem),
        _read(
            "verifyToken", API_ROOT + "/user/tokens/verify", accounts.token, "Whether the token works.", result=account_shapes.TokenItem,
        ),
    )  # fmt: skip


def _workflow_rows(workflows: Workflows) -> tuple[Operation, ...]:
    return (
        _read(
            "listWorkflows", _WORKFLOWS, workflows.list, "List the workflows, newest first.",
            query=shapes.WorkflowListQuery, result=list[results.WorkflowItem], listing=True,
        ),
        _read("getWorkflow", _WORKFLOW, workflows.get, "Read one workflow.", result=results.WorkflowItem, errors=_NO_WORKFLOW),
        _steer(
            "updateWorkflow", "PUT", _WORKFLOW, workflows.update, "Accept a workflow as the project declares it; refuse any other.",
            body=shapes.UpdateBody, result=results.WorkflowChange, errors=(*_NO_WORKFLOW, "workflow.declared"),
        ),
        _steer(
            "deleteWorkflow", "DELETE", _WORKFLOW, workflows.delete, "Forget a workflow with its versions and instances.",
            result=results.Done, errors=_NO_WORKFLOW,
        ),
        _read(
            "listVersions", _WORKFLOW + "/versions", workflows.versions, "List the versions of a workflow, newest first.",
            query=shapes.PageQuery, result=list[results.VersionItem], listing=True, errors=_NO_WORKFLOW,
        ),
        _read(
            "getVersion", _WORKFLOW + "/versions/{version}", workflows.version, "Read one version of a workflow.",
            result=results.VersionItem, errors=(*_NO_WORKFLOW, "version.not_found"),
        ),
        _read(
            "getVersionGraph", _WORKFLOW + "/versions/{version}/graph", workflows.graph, "Read a version with its graph: null for Python.",
            result=results.VersionGraph, errors=(*_NO_WORKFLOW, "version.not_found"),
        ),
    )  # fmt: skip


def _collection_rows(instances: Instances) -> tuple[Operation, ...]:
    listing: dict[str, Any] = {
        "query": shapes.InstanceListQuery, "result": list[results.InstanceItem], "listing": True, "errors": _NO_WORKFLOW,
    }  # fmt: skip
    return (
        _read("listInstances", _INSTANCES, instances.list, "List the instances of a workflow, newest first.", **listing),
        _read("listInstancesSlash", _INSTANCES + "/", instances.list, "The same list; official clients ask with a slash.", **listing),
        _start(
            "createInstance", "POST", _INSTANCES, instances.create,
            "Create an instance; it is on disk when this answers.",
            accepted="It was created; its end has not come in the time of the wait.",
            query=shapes.CreateQuery, body=shapes.CreateBody, result=results.CreatedItem,
            errors=(*_NO_WORKFLOW, *_BAD_INSTANCE, "instance.already_exists", "instance.other_input"),
        ),
        _start(
            "createInstances", "POST", _INSTANCES + "/batch", instances.create_batch,
            "Create 1 to 100 instances; one bad item fails all, a taken id is told in `messages`.",
            body=shapes.CreateBatchBody, result=list[results.CreatedItem],
            errors=(*_NO_WORKFLOW, *_BAD_INSTANCE),
        ),
        _steer(
            "deleteInstances", "POST", _INSTANCES + "/batch/delete", instances.delete_batch, "Forget 1 to 100 instances.",
            body=shapes.DeleteBatchBody, result=results.DeletedBatch, errors=_NO_WORKFLOW,
        ),
        _steer(
            "terminateInstances", "PUT", _INSTANCES + "/terminate", instances.terminate_all,
            "Start terminating all instances, or those of a status, in the background.",
            query=shapes.TerminateAllQuery, result=results.JobState, errors=_NO_WORKFLOW,
        ),
    )  # fmt: skip


def _instance_rows(instances: Instances) -> tuple[Operation, ...]:
    cannot = tuple(f"instance.cannot_{verb}" for verb in ("pause", "resume", "terminate", "restart"))
    return (
        _read(
            "getInstance", _INSTANCE, instances.describe, "Read an instance with its steps; the id may be `latest`.",
            query=shapes.DescribeQuery, result=results.InstanceDetail, errors=_NO_INSTANCE,
        ),
        _steer(
            "deleteInstance", "DELETE", _INSTANCE, instances.delete, "Forget an instance; a running one stops.",
            result=results.Done, errors=_NO_INSTANCE,
        ),
        _read(
            "getStep", _INSTANCE + "/step", instances.step, "Read one step of an instance with its whole output.",
            query=shapes.StepQuery, result=results.StepDetail, errors=(*_NO_INSTANCE, "step.not_found"),
        ),
        _read(
            "listInstanceLogs", _INSTANCE + "/logs", instances.logs, "List what the steps of an instance have logged.",
            query=shapes.LogListQuery, result=list[results.LogItem], listing=True, errors=_NO_INSTANCE,
        ),
        _read(
            "subscribeInstance", _INSTANCE + "/subscribe", instances.subscribe,
            "Follow an instance by server-sent events: its history, then what happens, until it has ended.",
            query=shapes.SubscribeQuery, result=results.EventItem, enveloped=False, content_type="text/event-stream",
            errors=(*_NO_INSTANCE, "subscription.invalid_options", "unavailable"),
        ),
        _steer(
            "editInstanceStatus", "PATCH", _INSTANCE + "/status", instances.edit_status, "Pause, resume, terminate or restart an instance.",
            body=shapes.StatusBody, result=results.StatusChange, errors=(*_NO_INSTANCE, *cannot),
        ),
        _start(
            "sendEvent", "POST", _INSTANCE + "/events/{type}", instances.send_event, "Send an event; the body is its payload.",
            body=Any, result=results.EventSent,
            errors=(*_NO_INSTANCE, "workflow.invalid_event_type", "instance.cannot_send_event"),
        ),
    )  # fmt: skip


def _job_rows(jobs: Jobs) -> tuple[Operation, ...]:
    path = _WORKFLOW + "/jobs"
    missing = (*_NO_WORKFLOW, "job.not_found")
    return (
        _read(
            "listJobs", path, jobs.list, "List the jobs of a workflow that this process has run, newest first.",
            result=list[job_shapes.JobItem], listing=True, errors=_NO_WORKFLOW,
        ),
        _steer(
            "createJob", "POST", path, jobs.create,
            "Pause, resume, terminate, restart or delete all instances that match a filter, in the background; a dry run counts them.",
            body=job_shapes.JobBody, result=job_shapes.JobItem, errors=(*_NO_WORKFLOW, "instance.invalid_labels", "job.too_many"),
        ),
        _read("getJob", path + "/{job}", jobs.get, "Read how far a job has come.", result=job_shapes.JobItem, errors=missing),
        _steer(
            "stopJob", "DELETE", path + "/{job}", jobs.stop, "Stop a job; what it has done stays so.",
            result=job_shapes.JobItem, errors=missing,
        ),
    )  # fmt: skip


def _trigger_rows(triggers: Triggers) -> tuple[Operation, ...]:
    return (
        _read(
            "listTriggers", _TRIGGERS, triggers.list, "List the triggers by name.",
            result=list[trigger_shapes.TriggerState], listing=True,
        ),
        _read("getTrigger", _TRIGGER, triggers.get, "Read one trigger.", result=trigger_shapes.TriggerState, errors=_NO_TRIGGER),
        _steer(
            "editTriggerStatus", "PATCH", _TRIGGER + "/status", triggers.edit_status,
            "Pause a trigger (webhooks hold, queues stop consuming, schedules skip) or resume it.",
            body=trigger_shapes.TriggerStatusBody, result=trigger_shapes.TriggerState, errors=_NO_TRIGGER,
        ),
        _start(
            "fireTrigger", "POST", _TRIGGER + "/fire", triggers.fire, "Emit an event in the trigger's name; a schedule runs now.",
            body=trigger_shapes.FireBody, result=trigger_shapes.ReceiptItem, errors=(*_NO_TRIGGER, *_REFUSED, "trigger.cannot_fire"),
        ),
        _read(
            "previewTrigger", _TRIGGER + "/preview", triggers.preview, "A schedule in words, and its next occurrences.",
            query=trigger_shapes.PreviewQuery, result=trigger_shapes.PreviewItem, errors=_NO_SCHEDULE,
        ),
        _start(
            "backfillTrigger", "POST", _TRIGGER + "/backfill", triggers.backfill,
            "Emit the occurrences of a span of time that lies behind.",
            body=trigger_shapes.BackfillBody, result=list[trigger_shapes.BackfillItem], listing=True, errors=(*_NO_SCHEDULE, *_REFUSED),
        ),
    )  # fmt: skip


def _delivery_rows(triggers: Triggers) -> tuple[Operation, ...]:
    return (
        _read(
            "listDeliveries", _DELIVERIES, triggers.deliveries, "List what was received and created no instance, newest first.",
            query=trigger_shapes.DeliveryListQuery, result=list[trigger_shapes.DeliveryItem], listing=True,
        ),
        _read(
            "getDelivery", _DELIVERY, triggers.delivery, "Read a stored delivery with its event.",
            result=trigger_shapes.DeliveryDetail, errors=_NO_DELIVERY,
        ),
        _start(
            "replayDelivery", "POST", _DELIVERY + "/replay", triggers.replay, "Emit a stored delivery again, under a fresh key.",
            result=trigger_shapes.ReceiptItem, errors=(*_NO_DELIVERY, "delivery.replayed", "delivery.of_handler", *_REFUSED),
        ),
    )  # fmt: skip


def _queue_rows(queues: Queues) -> tuple[Operation, ...]:
    missing = ("queue.not_found",)
    messages = _QUEUE + "/messages"
    return (
        _read(
            "listQueues", _QUEUES, queues.list, "List the hub's own queues, by name.",
            query=queue_shapes.QueueListQuery, result=list[queue_shapes.QueueItem], listing=True,
        ),
        _read("getQueue", _QUEUE, queues.get, "Read one queue.", result=queue_shapes.QueueItem, errors=missing),
        _steer(
            "createQueue", "POST", _QUEUES, queues.create, "Make a queue; those that the project uses are made by themselves.",
            body=queue_shapes.QueueBody, result=queue_shapes.QueueItem, errors=("queue.invalid_name", "queue.already_exists"),
        ),
        _steer(
            "deleteQueue", "DELETE", _QUEUE, queues.delete, "Forget a queue that the project does not use, with its messages.",
            result=results.Done, errors=(*missing, "queue.in_use"),
        ),
        _start(
            "pushMessage", "POST", messages, queues.push, "Put a message into a queue; it is on disk when this answers.",
            body=queue_shapes.MessageBody, result=queue_shapes.Pushed, errors=(*missing, "queue.body", "payload.too_large", "unavailable"),
        ),
        _start(
            "pushMessages", "POST", messages + "/batch", queues.push_batch, "Put up to 100 messages into a queue in one commit.",
            body=queue_shapes.MessagesBody, result=queue_shapes.Pushed,
            errors=(*missing, "queue.body", "payload.too_large", "unavailable"),
        ),
        _steer(
            "pullMessages", "POST", messages + "/pull", queues.pull, "Take messages; each comes again when it is not acknowledged in time.",
            body=queue_shapes.PullBody, result=queue_shapes.Pulled, errors=missing,
        ),
        _steer(
            "ackMessages", "POST", messages + "/ack", queues.ack, "Say of pulled messages that they are done, or shall come again.",
            body=queue_shapes.AckBody, result=queue_shapes.Acked, errors=missing,
        ),
        _steer(
            "purgeQueue", "POST", _QUEUE + "/purge", queues.purge, "Delete all messages of a queue.",
            body=queue_shapes.PurgeBody, result=queue_shapes.Purged, errors=missing,
        ),
    )  # fmt: skip


def _token_rows(tokens: Tokens) -> tuple[Operation, ...]:
    """Return the rows of an administrator."""
    missing = ("token.not_found",)
    return (
        _administer(
            "listTokens", "GET", _TOKENS, tokens.list, "List the tokens, newest first, also those that open nothing any more.",
            result=list[token_shapes.TokenState], listing=True,
        ),
        _administer(
            "createToken", "POST", _TOKENS, tokens.create, "Make a token; this answer shows its secret, and nothing else ever does.",
            body=token_shapes.TokenBody, result=token_shapes.CreatedToken, errors=("token.invalid", "token.first"),
        ),
        _administer(
            "getToken", "GET", _TOKENS + "/{token}", tokens.get, "Read one token without its secret.",
            result=token_shapes.TokenState, errors=missing,
        ),
        _administer(
            "revokeToken", "DELETE", _TOKENS + "/{token}", tokens.revoke, "Revoke a token: it opens nothing from now on, and stays listed.",
            result=token_shapes.TokenState, errors=missing,
        ),
        _administer(
            "listAudit", "GET", _ACCOUNTS + "/{account}/audit", tokens.audit,
            "List who has steered the hub and who was refused, newest first.",
            query=token_shapes.AuditListQuery, result=list[token_shapes.AuditItem], listing=True,
        ),
    )  # fmt: skip


def _local_rows(rows: Iterable[Operation], door: LocalDoor) -> tuple[Operation, ...]:
    """Return the rows of the second door: those of the REST API that its client knows, at its own root, with what differs."""
    as_they_are: dict[str, Any] = {}
    known = {
        "listWorkflows": {"query": LocalWorkflowListQuery},
        "getWorkflow": as_they_are,
        "deleteWorkflow": {"handler": door.clear, "summary": "Forget the instances of a workflow."},
        "listInstances": {"handler": door.list, "query": LocalInstanceListQuery},
        "createInstance": as_they_are,
        "deleteInstances": as_they_are,
        "getInstance": as_they_are,
        "deleteInstance": as_they_are,
        "editInstanceStatus": as_they_are,
        "sendEvent": as_they_are,
    }
    return tuple(
        replace(
            row, name=f"{row.name}Locally", path=row.path.replace(_WORKFLOWS, LOCAL_ROOT + "/workflows"), local=True, **known[row.name]
        )
        for row in rows
        if row.name in known
    )  # fmt: skip


def _open_rows(vitals: Vitals) -> tuple[Operation, ...]:
    """Return the addresses beside the API. Each that needs no token is listed here on purpose: none of them tells what the hub does."""
    return (
        _read(
            "metrics", "/metrics", vitals.metrics, "Metrics for Prometheus.", result=str, content_type=METRICS_TYPE, enveloped=False,
        ),
        _open("live", "/healthz", vitals.live, "Whether the process runs.", result=results.Health, by_any_name=True),
        _open(
            "ready", "/readyz", vitals.ready, "Whether the store answers.",
            result=results.Health, errors=("unavailable",), by_any_name=True,
        ),
        _open("openapi", "/openapi.json", vitals.openapi, "This document.", result=dict[str, Any]),
        _open("docs", "/docs", vitals.docs, "This document as a page.", result=str, content_type=DOCS_TYPE, errors=("route.unknown",)),
    )  # fmt: skip


def _read(name: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    return Operation(name=name, method="GET", path=path, handler=handler, summary=summary, scope=Scope.READ, **more)


def _start(name: str, method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    return Operation(name=name, method=method, path=path, handler=handler, summary=summary, scope=Scope.TRIGGER, **more)


def _steer(name: str, method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    return Operation(name=name, method=method, path=path, handler=handler, summary=summary, scope=Scope.CONTROL, **more)


def _administer(name: str, method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    return Operation(name=name, method=method, path=path, handler=handler, summary=summary, scope=Scope.ADMIN, **more)


def _open(name: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    return Operation(
        name=name, method="GET", path=path, handler=handler, summary=summary, scope=None, enveloped=False, **more
    )  # fmt: skip
