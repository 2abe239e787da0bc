"""What is under test: some classes, or a project with its settings.

Owns the names that classes get without a hub.toml, and the bindings of `self.env`. Starts nothing: connectors are opened, and the engine is
made, by the kit. Invariant: the runner works by the project's settings, except for what would fill virtual months with housekeeping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hub.core.errors import ConfigError
from hub.core.ports import Connector
from hub.core.workflow import Env, WorkerEntrypoint, WorkflowEntrypoint
from hub.engine.context import TriggerSpec
from hub.engine.embedded import Definition
from hub.engine.rules import Rules
from hub.engine.runner import RunnerOptions

QUIET = timedelta(days=10_000)  # no lease, poll or pruning in between
URL = "http://hub.test"  # the hub's own address in [vars]; nobody listens there
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The parts of a node, made but not started."""

    definitions: Callable[[Callable[[], Env]], list[Definition]]
    workflows: tuple[str, ...]
    bindings: Mapping[str, str]  # workflow by attribute of self.env
    values: Mapping[str, Any]  # everything else on self.env
    worker: type[WorkerEntrypoint] | None = None
    connectors: tuple[Connector, ...] = ()
    producers: Mapping[str, tuple[str, timedelta]] = field(default_factory=dict)  # queue and delay by attribute of self.env
    trigger: Callable[[str], TriggerSpec] | None = None  # by name; None = no settings, hence no triggers
    options: RunnerOptions = field(default_factory=RunnerOptions)
    rules: Mapping[str, Rules] = field(default_factory=dict)  # by trigger

    @property
    def quiet_options(self) -> RunnerOptions:
        """The runner's options on virtual time."""
        return replace(self.options, lease=QUIET, poll=QUIET, prune_every=QUIET)


def of_classes(classes: Sequence[type], env: Mapping[str, Any]) -> Subject:
    """Return workflows by their classes: `OrderIntake` is the workflow `order-intake` and `self.env.ORDER_INTAKE`.

    A WorkerEntrypoint among them is the fetch handler. Raises: ConfigError.
    """
    workflows: dict[str, type[WorkflowEntrypoint]] = {}
    worker: type[WorkerEntrypoint] | None = None
    for cls in classes:
        if isinstance(cls, type) and issubclass(cls, WorkflowEntrypoint):
            workflows[_WORD.sub("-", cls.__name__).lower()] = cls
        elif isinstance(cls, type) and issubclass(cls, WorkerEntrypoint) and worker is None:
            worker = cls
        else:
            raise ConfigError(f"{cls!r} cannot be tested: give workflow classes, and at most one WorkerEntrypoint")
    if not workflows:
        raise ConfigError("there is nothing to test: give a workflow class, or the folder of a project: project=…")

    def definitions(current: Callable[[], Env]) -> list[Definition]:
        def maker(cls: type[WorkflowEntrypoint]) -> Callable[[], WorkflowEntrypoint]:
            return lambda: cls(None, current())

        return [Definition(name, cls.__name__, "test", "test", maker(cls)) for name, cls in workflows.items()]

    return Subject(
        definitions=definitions,
        workflows=tuple(workflows),
        bindings={name.replace("-", "_").upper(): name for name in workflows},
        values=env,
        worker=worker,
    )


@contextmanager
def of_project(folder: Path, env: Mapping[str, Any]) -> Iterator[Subject]:
    """Load the project in a folder; its modules are forgotten at the end. What `env` has takes the place of the project's own binding.

    Raises: ConfigError.
    """
    from hub.app import definitions, make_plugin, runner_options  # only whole projects wait for everything that a node has
    from hub.plugins import connector_class, trigger_class
    from hub.project import borrowed, load_project
    from hub.settings import load_settings
    from hub.triggering import rules_of

    settings = load_settings(folder, overrides={"server": {"host": "127.0.0.1"}})
    connectors: dict[str, Connector] = {
        spec.binding: make_plugin(connector_class(spec.kind), spec.options, f"connectors.{spec.binding}")
        for spec in settings.connectors
        if spec.binding not in env
    }

    def trigger(name: str) -> TriggerSpec:
        spec = next((spec for spec in settings.triggers if spec.name == name), None)
        if spec is None:
            known = ", ".join(spec.name for spec in settings.triggers) or "none"
            raise ConfigError(f'there is no trigger "{name}" in {folder / "hub.toml"}; there are: {known}')
        return TriggerSpec(name, spec.workflow, make_plugin(trigger_class(spec.kind), spec.options, f"triggers.{name}"))

    with borrowed(settings.project):
        project = load_project(settings.project, settings.main, [workflow.class_name for workflow in settings.workflows])
        yield Subject(
            definitions=lambda current: definitions(settings, project, current),
            workflows=tuple(workflow.name for workflow in settings.workflows),
            bindings={workflow.binding: workflow.name for workflow in settings.workflows if workflow.binding},
            values={**settings.expanded_vars(URL), **connectors, **env},
            worker=project.worker,
            connectors=tuple(connectors.values()),
            producers={each.binding: (each.queue, each.delivery_delay) for each in settings.queues.producers},
            trigger=trigger,
            options=runner_options(settings),
            rules=rules_of(settings),
        )
