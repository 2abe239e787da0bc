"""The floors of the house: who may import whom, and who owns which third-party package."""

from __future__ import annotations

import re
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions

import pytest

from tests.repo.sources import PACKAGES, ROOT, Module, modules

ROOM_MAY_SEE = {
    "hub.core": ["hub.core"],
    "hub.engine": ["hub.engine", "hub.core"],
    "hub.store": ["hub.store", "hub.core"],
    "triggers": ["hub.core"],
    "connectors": ["hub.core"],
    "hub.api": ["hub.api", "hub.engine", "hub.core"],
    "hub.cli": ["hub.cli", "hub.engine", "hub.core"],
    "hub.ui": ["hub.ui", "hub.engine", "hub.core"],
    "hub.mistakes": ["hub.core"],
    "hub.plugins": ["hub.mistakes", "hub.core"],
    "hub.values": ["hub.core"],
    "hub.flow_schema": ["hub.values", "hub.core"],
    "hub.node_schema": ["hub.values", "hub.core"],
    "hub.store_schema": ["hub.values"],
    "hub.schema": ["hub.flow_schema", "hub.node_schema", "hub.store_schema", "hub.values", "hub.mistakes", "hub.core"],
    "hub.json_schema": ["hub.schema", "hub.values", "hub.plugins", "hub.core"],
    "hub.settings": ["hub.schema", "hub.flow_schema", "hub.node_schema", "hub.store_schema", "hub.mistakes", "hub.core"],
    "hub.flows": ["hub.flow_schema", "hub.engine", "hub.core"],
    "hub.digest": [],
    "hub.project": ["hub.digest", "hub.core"],
    "hub.testing": [
        *("hub.testing", "hub.app", "hub.settings", "hub.triggering", "hub.plugins", "hub.project", "hub.engine", "hub.store", "hub.core"),
    ],
    "hub.process": ["hub.cli"],
    "hub.order": ["hub.settings"],
    "hub.serve": [
        *("hub.app", "hub.order", "hub.process", "hub.settings", "hub.plugins", "hub.project", "hub.triggering", "hub.cli", "hub.core"),
    ],
    "hub.run": ["hub.app", "hub.order", "hub.process", "hub.settings", "hub.cli", "hub.api", "hub.engine", "hub.core"],
    "hub.database": ["hub.order", "hub.store", "hub.cli", "hub.core"],
    "hub.tokens": ["hub.settings", "hub.store", "hub.api", "hub.engine", "hub.cli", "hub.core"],
    "hub.masking": [],
    "hub.toml_lines": [],
    "hub.origins": ["hub.masking", "hub.plugins", "hub.schema", "hub.settings", "hub.toml_lines"],
    "hub.config_show": ["hub.origins", "hub.order", "hub.cli", "hub.core"],
    "hub.doctor": [
        *("hub.doctor", "hub.order", "hub.settings", "hub.schema", "hub.plugins", "hub.project", "hub.triggering", "hub.masking"),
        *("hub.store", "hub.cli", "hub.core"),
    ],
    "hub.__main__": [
        *("hub.serve", "hub.order", "hub.run", "hub.database", "hub.config_show", "hub.doctor", "hub.tokens", "hub.cli", "hub.core"),
    ],
    "hub.triggering": [
        *("hub.schema", "hub.flow_schema", "hub.flows", "hub.plugins", "hub.project"),
        *("hub.masking", "hub.mistakes", "hub.engine", "hub.core"),
    ],
    "hub.app": ["hub", "triggers", "connectors"],
    "hub": ["hub.core"],  # the public names
}
OWNERS = {
    "aiohttp": ["hub.cli", "connectors.http"],
    "aiohttp.web": ["hub.api"],
    "aiohttp.BasicAuth": ["hub.api", "hub.cli", "connectors.http"],
    "multidict": ["hub.api"],
    "yarl": ["hub.api", "hub.cli", "triggers._amqp_link", "connectors.amqp"],
    "alembic": ["hub.store"],
    "sqlalchemy": ["hub.store", "connectors.sql"],
    "sqlmodel": ["hub.store", "connectors.sql"],
    "sqlite3": ["hub.store", "connectors.sql"],
    "asyncpg": ["hub.store", "connectors.sql"],
    "aio_pika": ["triggers._amqp_link", "connectors.amqp"],
    "aiormq": ["triggers._amqp_link", "connectors.amqp"],
    "pamqp": ["triggers._amqp_frames"],
    "apscheduler": ["triggers._ticker"],
    "cryptography": ["triggers._signatures"],
    "jmespath": ["hub.engine.expressions"],
    "jsonschema_rs": ["hub.engine.contracts"],
    "croniter": ["triggers._expression"],
    "msgspec": ["hub.core.values"],
    "orjson": ["hub.core.codec", "hub.core.outside"],
    "typer": ["hub.cli", "hub.__main__"],
    "rich": ["hub.cli", "hub.doctor", "hub.serve"],
    "uvloop": ["hub.process"],
    "watchfiles": ["hub.serve"],
    "prometheus_client": ["hub.engine"],
    "structlog": ["hub.app", "hub.api", "hub.cli", "hub.tokens"],
    "pydantic": [
        *(
            "hub.values",
            "hub.flow_schema",
            "hub.node_schema",
            "hub.store_schema",
            "hub.schema",
            "hub.json_schema",
            "hub.settings",
            "hub.plugins",
            "hub.mistakes",
            "hub.masking",
            "hub.origins",
            "hub.doctor",
            "hub.triggering",
        ),
        *("hub.api", "hub.engine", "triggers", "connectors"),
    ],
    "pydantic_core": ["hub.mistakes"],
    "typing_extensions": ["hub.api"],
    "pytest": ["hub.testing"],
    "pytest_asyncio": ["hub.testing"],
}
BROUGHT_ALONG = {"aiormq", "multidict", "pamqp", "pydantic-core", "sqlalchemy", "typing-extensions", "yarl"}  # by those
EVERY = [pytest.param(module, id=name) for name, module in modules().items()]


def within(name: str, prefixes: list[str]) -> bool:
    """Whether a module is one of these or lies in one of them."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def room_of(name: str) -> str:
    """Return the room that a module stands in. Each trigger and each connector is a room of its own within theirs."""
    parts = name.split(".")
    return parts[0] if parts[0] != "hub" else ".".join(parts[:2])


@pytest.mark.parametrize("module", EVERY)
def test_a_module_imports_only_from_the_floors_below(module: Module) -> None:
    room = room_of(module.name)
    allowed = ROOM_MAY_SEE[room]
    if room in ("triggers", "connectors"):  # beside the core: itself, and what its kind keeps private in `_name`
        allowed = [*allowed, module.name, *(name for name in modules() if name.startswith(f"{room}._"))]
    ours = {name for name in module.imports if name.split(".")[0] in PACKAGES}
    assert ours <= modules().keys(), "there is no such module"
    assert not {name for name in ours if not within(name, allowed) or name == "hub"}


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: {seen for seen in module.imports if seen in modules()} for name, module in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("module", EVERY)
def test_every_third_party_package_stays_with_its_owners(module: Module) -> None:
    for name in module.imports:
        top = name.split(".")[0]
        owned = next((key for key in (".".join(name.split(".")[:2]), top) if key in OWNERS), None)
        if owned is not None:
            assert within(module.name, OWNERS[owned]), f"{owned} belongs to {', '.join(OWNERS[owned])}"
        else:
            assert top in PACKAGES or top in sys.stdlib_module_names, f"{top} has no owner yet; give it one, or do without it"


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines} | BROUGHT_ALONG
    homes = packages_distributions()
    imported = {name.split(".")[0] for module in modules().values() for name in module.imports} - sys.stdlib_module_names
    for name in imported - set(PACKAGES):
        for distribution in homes.get(name, []):
            assert distribution.replace("_", "-").lower() in declared, f"{name} is imported, but {distribution} is not in pyproject.toml"


def test_each_trigger_and_connector_is_one_file_with_one_entry_point() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for package in ("triggers", "connectors"):
        files = {name for name in modules() if name.startswith(f"{package}.") and not name.startswith(f"{package}._")}
        targets = {target.partition(":")[0] for target in groups[f"hub.{package}"].values()}
        assert files == targets
