"""Kinds of triggers and connectors: found by name or by path, checked before they are used."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.http import HttpConnector
from hub.core.errors import ConfigError
from hub.plugins import CONNECTORS, TRIGGERS, connector_class, kinds, parse_options, trigger_class
from triggers.cron import CronTrigger
from triggers.http import HttpTrigger


@dataclass(frozen=True)
class PlainConfig:
    colour: str
    size: int = 1


class Plain:
    """A plug-in whose Config is a dataclass."""

    Config: ClassVar[type] = PlainConfig


def test_the_kinds_of_this_distribution_are_installed() -> None:
    assert {"cron", "http"} <= set(kinds(TRIGGERS))
    assert "http" in kinds(CONNECTORS)
    assert (trigger_class("http"), trigger_class("cron"), connector_class("http")) == (HttpTrigger, CronTrigger, HttpConnector)


def test_a_class_can_be_named_by_its_place() -> None:
    assert trigger_class("triggers.http:HttpTrigger") is HttpTrigger


def test_an_unknown_kind_is_told_with_the_nearest_one_and_all_installed() -> None:
    with pytest.raises(ConfigError, match=r'^triggers\.2\.kind: unknown kind "htp"; did you mean http\? \(installed: .*http') as caught:
        trigger_class("htp", "triggers.2")
    assert caught.value.path == "triggers.2.kind"
    with pytest.raises(ConfigError, match=r'^connectors\.kind: unknown kind "carrier-pigeon" \(installed: amqp, http'):
        connector_class("carrier-pigeon")


@pytest.mark.parametrize("kind", ["nowhere:Trigger", "triggers.http:Nothing", ":", "triggers.http:"])
def test_a_plug_in_that_does_not_load_is_told(kind: str) -> None:
    with pytest.raises(ConfigError, match="does not load: "):
        trigger_class(kind)


def test_an_error_inside_a_plug_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plug_in.py").write_text("raise RuntimeError('out of coffee')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="does not load: RuntimeError: out of coffee"):
        trigger_class("broken_plug_in:Trigger")
    assert "broken_plug_in" not in sys.modules


@pytest.mark.parametrize("kind", ["json:loads", "datetime:datetime", "connectors.http:HttpConnector"])
def test_what_does_not_look_like_a_trigger_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="is not a class with Config, start, stop"):
        trigger_class(kind)


def test_options_become_the_config_of_the_plug_in() -> None:
    assert parse_options(HttpTrigger, {"path": "github"}, "triggers.github").path == "github"
    assert parse_options(Plain, {"colour": "red"}, "connectors.PLAIN") == PlainConfig("red")


def test_a_wrong_option_is_told_with_its_path_and_the_nearest_key() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(HttpTrigger, {"pth": "a", "max_body": 0}, "triggers.github")
    assert caught.value.message.splitlines() == [
        "triggers.github.pth: unknown key; did you mean path?",
        "triggers.github.max_body: expected at least 1, got 0",
    ]
    assert caught.value.path == "triggers.github.pth"


def test_the_plug_ins_own_words_are_kept() -> None:
    with pytest.raises(ConfigError, match=r"^triggers\.nightly\.timezone: .*Europe/Berlin"):
        parse_options(CronTrigger, {"cron": "0 7 * * *", "timezone": "Europe/Berln"}, "triggers.nightly")


def test_a_secret_option_is_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(HttpConnector, {"headers": {"authorization": 66778899}}, "connectors.HTTP")
    assert "66778899" not in caught.value.message
