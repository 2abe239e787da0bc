"""The files in config/: each loads, and the reference is complete both ways."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.json_schema import json_schema
from hub.plugins import CONNECTORS, TRIGGERS, connector_class, kinds, parse_options, plugin_class, trigger_class
from hub.project import forget, load_project
from hub.schema import TABLES, ConnectorSettings, Settings, TriggerSettings, WorkflowSettings, file_form, variables
from hub.settings import load_settings
from tests.repo.sources import ROOT, tracked

CONFIG = ROOT / "config"
REFERENCE = CONFIG / "reference.toml"
PROJECTS = [path for path in tracked() if path.parts[0] == "config" and path.suffix == ".toml"]
REFERENCE_TO = re.compile(r"\$\{(\w+_PASSWORD)\}")  # variables that a file wants its reader to set
LINE = re.compile(r"^(\w+) += (.+?) +# (.+)$", re.MULTILINE)


def keys_of(schema: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)}


def load(file: Path, folder: Path) -> Settings:
    """Load a settings file as the hub.toml of a folder that is a copy of config/."""
    shutil.copytree(CONFIG, folder, ignore=shutil.ignore_patterns(".hub", "__pycache__"), dirs_exist_ok=True)
    here = folder / file.relative_to("config").parent
    if file.name != "hub.toml":
        shutil.copy(ROOT / file, here / "hub.toml")
    return load_settings(here, environ=dict.fromkeys(REFERENCE_TO.findall(file.read_text()), "s3cret"))


@pytest.mark.parametrize("file", PROJECTS, ids=str)
def test_every_settings_file_loads_with_the_options_of_its_plug_ins(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(file, tmp_path)
    monkeypatch.syspath_prepend(settings.project)  # as the hub does, so that a project can bring kinds of its own
    for trigger in settings.triggers:
        parse_options(trigger_class(trigger.kind), trigger.options, f"triggers.{trigger.name}")
    for connector in settings.connectors:
        parse_options(connector_class(connector.kind), connector.options, f"connectors.{connector.binding}")
    if file.name == "hub.toml":
        project = load_project(settings.project, settings.main, [workflow.class_name for workflow in settings.workflows])
        forget(tmp_path)
        assert project.workflows


def test_every_other_file_in_config_belongs_to_an_example() -> None:
    loose = {path.name for path in tracked() if path.parts[0] == "config" and path.parts[1] != "examples"}
    assert loose == {"hub.toml", "cluster.toml", "reference.toml", "hub.schema.json"}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return tomllib.loads(REFERENCE.read_text())


def test_the_reference_has_every_setting_and_nothing_else(reference: dict[str, Any]) -> None:
    assert set(reference) == keys_of(Settings) - {"project"}
    for table, schema in TABLES.items():
        assert set(reference[table]) == keys_of(schema), table
    assert set(reference["workflows"][0]) == keys_of(WorkflowSettings)


@pytest.mark.parametrize(
    ("table", "group", "own"), [("triggers", TRIGGERS, TriggerSettings), ("connectors", CONNECTORS, ConnectorSettings)]
)
def test_the_reference_has_every_kind_with_all_its_options(reference: dict[str, Any], table: str, group: str, own: type) -> None:
    assert sorted(entry["kind"] for entry in reference[table]) == sorted(kinds(group))
    generic = keys_of(own) - {"options"}
    assert generic <= set(reference[table][0])  # the keys that every kind has are shown once
    for entry in reference[table]:
        options = set(plugin_class(group, entry["kind"]).Config.model_fields)
        assert set(entry) - generic == options, entry["kind"]


def test_the_reference_tells_the_defaults(reference: dict[str, Any]) -> None:
    told = {path: reference[path[0]] if len(path) == 1 else reference[path[0]][path[1]] for path in variables().values()}
    for path, value in told.items():
        schema: Any = Settings if len(path) == 1 else TABLES[path[0]]
        default = {field.name: field.default for field in dataclasses.fields(schema)}[path[-1]]
        if default is not dataclasses.MISSING:
            assert value == file_form(default), path


def test_the_reference_tells_meaning_unit_and_variable_of_every_setting(reference: dict[str, Any]) -> None:
    lines = {key: (value, comment) for key, value, comment in LINE.findall(REFERENCE.read_text())}
    comments = [comment for _, _, comment in LINE.findall(REFERENCE.read_text())]
    told = {name for comment in comments for name in re.findall(r"HUB_[A-Z_]+", comment)}
    assert told - {"HUB_URL"} == set(variables())
    for table, schema in TABLES.items():
        for field in dataclasses.fields(schema):
            assert field.name in lines, f"{table}.{field.name} needs a comment"
            value, comment = lines[field.name]
            if isinstance(field.default, timedelta):
                assert re.fullmatch(r'"([0-9.]+ [a-z]+|forever)"', value), f"{table}.{field.name} needs a unit"
            if field.name.endswith("_bytes"):
                assert comment.startswith("bytes;"), f"{table}.{field.name} needs its unit"


def test_the_schema_file_is_what_the_code_says() -> None:
    assert json.loads((CONFIG / "hub.schema.json").read_text()) == json_schema(), "run: python -m hub.json_schema > config/hub.schema.json"


def test_the_schema_knows_every_key_of_the_reference(reference: dict[str, Any]) -> None:
    schema = json_schema()
    generic = {"triggers": keys_of(TriggerSettings), "connectors": keys_of(ConnectorSettings)}
    assert set(schema["properties"]) == set(reference)
    for table, own in TABLES.items():
        assert set(schema["$defs"][own.__name__]["properties"]) == set(reference[table])
    for table, name in (("triggers", "TriggerSettings"), ("connectors", "ConnectorSettings")):
        by_kind = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in schema["$defs"][name]["allOf"]}
        for entry in reference[table]:
            assert set(by_kind[entry["kind"]]["properties"]) == set(entry) | set(reference[table][0]) & generic[table]
