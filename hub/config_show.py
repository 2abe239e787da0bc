"""`hub config show`: the settings that are in effect, as lines or as JSON. Owns their form; where they come from is `hub.origins`'."""

from __future__ import annotations

import json
import sys
from typing import Any

from hub.cli import screen
from hub.cli.exits import Exit
from hub.core.errors import ConfigError
from hub.order import Order
from hub.origins import effective


def show(order: Order, *, origin: bool, as_json: bool) -> Exit:
    """Show every setting, with `origin` also where it came from."""
    sys.path.insert(0, str(order.project.resolve()))  # a project may bring kinds of its own
    try:
        found = effective(order.project, order.overrides())
    except ConfigError as error:
        screen.complain(error.message)
        return Exit.USAGE
    if as_json:
        screen.show_json({each.key: {"value": _plain(each.value), "origin": each.origin} for each in found})
        return Exit.OK
    lines = [f"{each.key} = {json.dumps(_plain(each.value), ensure_ascii=False)}" for each in found]
    width = max(len(line) for line in lines if len(line) <= 80)
    screen.show([screen.safe(f"{line:<{width}}  # {each.origin}" if origin else line) for line, each in zip(lines, found, strict=True)])
    return Exit.OK


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
