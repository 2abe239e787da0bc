"""Requests made up from the OpenAPI document: a slice of what `make soak` makes, which asks each operation for 200 free ones."""

from __future__ import annotations

from pathlib import Path

from tests.api.spec_fuzz import fuzz


async def test_no_made_up_request_makes_the_server_fail_or_breaks_its_document(tmp_path: Path) -> None:
    found = await fuzz(tmp_path, each=1, seed=5)
    assert found.ok, found.told
    assert found.cases >= 2000, found.told
