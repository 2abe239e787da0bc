"""What the commands about tokens and the audit log print, from the API's JSON. Pure, as `render.py` is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from hub.cli.render import Json, Listing, Row
from hub.cli.screen import safe
from hub.cli.words import Viewer

_STYLES = {"active": "green", "expired": "yellow", "revoked": "red", "done": "green", "refused": "red", "failed": "yellow"}


def token_list(tokens: Sequence[Json], viewer: Viewer) -> Iterator[RenderableType]:
    """Show all tokens."""
    rows: list[Row] = [
        [
            Text(safe(str(item["id"])), style="bold"),
            safe(str(item["name"])),
            _word(item["status"]),
            safe(", ".join(item["scopes"])),
            viewer.moment(item["created_on"]),
            viewer.moment(item["expires_on"]) or "never",
            viewer.moment(item["last_used_on"]) or "never",
        ]
        for item in tokens
    ]
    yield Listing(["Token ID", "Name", "State", "Scopes", "Created", "Expires", "Last Used"], rows, spare="Scopes")


def audit_list(entries: Sequence[Json], total: int | None, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one page of the audit log."""
    yield Text(f"Showing {len(entries)} of {total} entries:" if total is not None else f"Showing {len(entries)} entries:")
    rows: list[Row] = [
        [
            viewer.moment(item["on"]),
            safe(str(item["caller"])),
            safe(str(item["remote"] or "")),
            Text(safe(str(item["operation"])), style="bold"),
            safe(f"{item['target']} {item['detail']}".rstrip()),
            _outcome(item),
        ]
        for item in entries
    ]
    yield Listing(["When", "Who", "From", "What", "Target", "Outcome"], rows, spare="Target")


def _outcome(item: Json) -> Text:
    told = _word(item["outcome"])
    if item["outcome"] != "done":
        told.append(safe(f" {item['status']} {item['code']}"), style="")
    if item["more"]:
        told.append(f", and {item['more']} more", style="")
    return told


def _word(word: object) -> Text:
    return Text(safe(str(word)), style=_STYLES.get(str(word), ""))
