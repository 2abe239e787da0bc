"""What is kept of an event: whole in a stored delivery, bounded with an instance, and never with secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import codec
from hub.core.deliveries import (
    LEFT_OUT,
    MAX_HEADER_BYTES,
    MAX_METADATA_BYTES,
    decode_event,
    encode_event,
    encode_provenance,
    provenance_of,
    without_secrets,
)
from hub.core.delivery import Provenance, TriggerEvent
from hub.core.flow import Overlap
from hub.core.model import Instance, Schedule, Source, Status

NINE = datetime(2026, 3, 1, 9, 0, 0, 123_456, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT | st.just("$hub"), part, max_size=3),
    max_leaves=8,
)


def instance(provenance: bytes | None, trigger: str | None = "hook") -> Instance:
    return Instance(
        key=1, workflow="w", id="i", status=Status.QUEUED, created_at=NINE, modified_at=NINE, trigger=trigger, provenance=provenance
    )


def back(origin: Provenance) -> Provenance | None:
    return provenance_of(instance(encode_provenance(origin)))


# ---- stored deliveries


@given(
    st.builds(
        TriggerEvent,
        payload=JSON,
        key=st.none() | TEXT,
        subject=st.none() | TEXT,
        headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]), TEXT),
        metadata=st.dictionaries(TEXT, JSON, max_size=3),
        occurred_at=st.none() | st.just(NINE),
        workflow=st.none() | TEXT,
        instance_id=st.none() | TEXT,
        schedule=st.none() | st.just(Schedule(cron="* * * * *", scheduled_at=NINE)),
        source=st.sampled_from(Source),
        overlap=st.none() | st.sampled_from(Overlap),
    )
)
def test_an_event_comes_back_as_it_was(event: TriggerEvent) -> None:
    assert decode_event(encode_event(event)) == event


def test_the_cursor_belongs_to_the_moment_and_is_not_kept() -> None:
    assert decode_event(encode_event(TriggerEvent(payload=1, cursor=NINE))) == TriggerEvent(payload=1)


def test_a_stored_event_is_plain_to_read() -> None:
    event = TriggerEvent(payload={"n": 1}, key="k", occurred_at=NINE)

    assert codec.plain(encode_event(event)) == {
        "payload": {"n": 1},
        "key": "k",
        "occurred_at": "2026-03-01T09:00:00.123456+00:00",
        "source": "event",
    }


@pytest.mark.parametrize("payload", [object(), {"a": [object()]}, "\ud83d", float("nan")])
def test_a_payload_that_no_database_takes_is_described_or_kept_as_it_is(payload: Any) -> None:
    stored = encode_event(TriggerEvent(payload=payload, key="k"))

    shown = codec.plain(stored)
    assert shown["key"] == "k"
    if "unstorable" in shown:
        assert set(shown["unstorable"]) == {"payload"}
        with pytest.raises(ValueError, match="could not be stored whole"):
            decode_event(stored)
    else:
        assert str(decode_event(stored).payload) == str(payload)


def test_metadata_that_cannot_be_stored_does_not_keep_the_event_from_being_emitted_again() -> None:
    stored = encode_event(TriggerEvent(payload=1, metadata={"raw": object()}))

    assert decode_event(stored) == TriggerEvent(payload=1)


@pytest.mark.parametrize("data", [b"null", b"[]", b"{}", b'{"key":"k"}'])
def test_what_is_no_stored_event_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="could not be stored whole"):
        decode_event(data)


# ---- secrets


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "cookie",
        "Set-Cookie",
        "x-api-key",
        "X-Apikey",
        "x-gitlab-token",
        "proxy-authorization",
        "x-hub-signature-256",
        "x-secret",
        "X-Auth",
        "x-auth-key",
        "proxy-authenticate",
        "x-session-id",
        "x-amz-credential",
        "ocp-apim-subscription-key",
        "x-access-key",
        "x-jwt-assertion",
    ],
)
def test_headers_with_secrets_are_never_kept(name: str) -> None:
    headers = {name: "s3cret", "content-type": "text/plain"}
    event = TriggerEvent(payload=1, headers=headers)

    assert without_secrets(headers) == {"content-type": "text/plain"}
    assert b"s3cret" not in encode_event(event)
    assert b"s3cret" not in (encode_provenance(Provenance(name="hook", headers=headers)) or b"")


@pytest.mark.parametrize("name", ["x-author", "x-github-event", "authority", "x-monkey", "x-keyword", "x-authored-by"])
def test_headers_that_only_sound_like_secrets_are_kept(name: str) -> None:
    assert without_secrets({name: "v"}) == {name: "v"}


# ---- provenance


@given(
    st.builds(
        Provenance,
        name=st.just("hook"),
        key=st.none() | TEXT,
        subject=st.none() | TEXT,
        headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]), TEXT),
        metadata=st.dictionaries(TEXT | st.just("$hub"), JSON, max_size=3),
        occurred_at=st.none() | st.just(NINE),
        delivery=st.none() | TEXT,
    )
)
def test_provenance_comes_back_as_it_was(origin: Provenance) -> None:
    assert back(origin) == origin


def test_an_event_that_tells_nothing_costs_nothing() -> None:
    assert encode_provenance(Provenance(name="hook")) is None
    assert back(Provenance(name="hook")) == Provenance(name="hook")


def test_an_instance_without_a_trigger_has_no_provenance() -> None:
    assert provenance_of(instance(None, trigger=None)) is None


def test_what_is_too_large_is_left_out_by_name() -> None:
    headers = {f"x-{n}": "v" * 1000 for n in range(10)}
    metadata = {"small": 1, "large": "x" * MAX_METADATA_BYTES, "queue": "orders", "raw": object()}

    kept = back(Provenance(name="hook", key="k", headers=headers, metadata=metadata))

    assert kept is not None
    assert list(kept.headers) == ["x-0", "x-1", "x-2", "x-3"]
    assert kept.metadata == {"small": 1, "queue": "orders", LEFT_OUT: ["large", "raw"]}
    data = encode_provenance(Provenance(name="hook", key="k", headers=headers, metadata=metadata)) or b""
    assert len(data) < MAX_HEADER_BYTES + MAX_METADATA_BYTES


@pytest.mark.parametrize("bad", ["\ud83d", float("nan")])
def test_a_value_that_is_no_json_never_stands_in_the_way_of_an_event(bad: Any) -> None:
    kept = back(Provenance(name="hook", key="k", metadata={"bad": bad, "good": 1}))

    assert kept is not None
    assert (kept.key, kept.metadata["good"]) == ("k", 1)
