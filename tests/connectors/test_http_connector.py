"""The HTTP connector against a real server: what is sent, which answers are results, which failures may be tried again."""

from __future__ import annotations

import gzip
import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from connectors.http import HttpConfig, HttpConnector, HttpError, HttpRefused, read_retry_after, shown_url
from hub.core.errors import ConfigError, NonRetryableError, Rejected
from hub.core.ports import Connector
from tests.connectors.outside import Outside

CANARY = "s3cr3t-canary"


# ---- sending


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete"])
async def test_each_verb_sends_its_method(outside: Outside, verb: str) -> None:
    http = await outside.connect()
    result = await getattr(http, verb)(f"{outside.url}/things/1")
    assert result.status == 200
    assert result.json() == {"method": verb.upper(), "path": "/things/1", "query": []}
    assert result.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("base", "url", "path"),
    [("", "/users", "/users"), ("/v1", "users/7", "/v1/users/7"), ("/v1/", "/users", "/v1/users"), ("/v1", "", "/v1")],
)
async def test_relative_address_is_appended_to_the_base(outside: Outside, base: str, url: str, path: str) -> None:
    http = await outside.connect(base_url=outside.url + base)
    assert (await http.get(url)).json()["path"] == path


async def test_query_parameters_are_encoded_repeated_or_left_out(outside: Outside) -> None:
    http = await outside.connect()
    result = await http.get(f"{outside.url}/?a=0", params={"q": "a b&c", "n": [1, 2], "flag": True, "none": None})
    assert result.json()["query"] == [["a", "0"], ["q", "a b&c"], ["n", "1"], ["n", "2"], ["flag", "true"]]


async def test_json_body_may_hold_whatever_the_hub_can_store(outside: Outside) -> None:
    http = await outside.connect()
    await http.post(outside.url, json={"at": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("1.10"), "tags": ("a",), "none": None})
    assert outside.bodies == [b'{"at":"2026-01-02T00:00:00+00:00","price":"1.10","tags":["a"],"none":null}']
    assert outside.requests[0].headers["content-type"] == "application/json"


async def test_json_null_is_a_body(outside: Outside) -> None:
    http = await outside.connect()
    await http.post(outside.url, json=None)
    assert outside.bodies == [b"null"]


@pytest.mark.parametrize(
    ("data", "sent", "kind"),
    [
        ("größe", "größe".encode(), "text/plain; charset=utf-8"),
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        ({"a": "1 2", "b": "é"}, b"a=1+2&b=%C3%A9", "application/x-www-form-urlencoded"),
    ],
)
async def test_data_is_sent_as_it_is_and_a_mapping_as_a_form(outside: Outside, data: Any, sent: bytes, kind: str) -> None:
    http = await outside.connect()
    await http.post(outside.url, data=data)
    assert outside.bodies == [sent]
    assert outside.requests[0].headers["content-type"] == kind


async def test_own_headers_win_over_configured_ones(outside: Outside) -> None:
    http = await outside.connect(headers={"X-Team": "a", "Accept": "text/csv"})
    await http.get(outside.url, headers={"accept": "application/json"})
    sent = outside.requests[0].headers
    assert (sent["x-team"], sent.getall("accept"), sent["user-agent"]) == ("a", ["application/json"], "trigger-hub")


async def test_configured_headers_go_only_to_the_server_of_the_base_address(outside: Outside) -> None:
    http = await outside.connect(base_url="http://127.0.0.1:1/api", headers={"authorization": CANARY})
    await http.get(f"{outside.url}/elsewhere")
    assert "authorization" not in outside.requests[0].headers


async def test_value_that_json_cannot_hold_is_refused_before_anything_is_sent(outside: Outside) -> None:
    http = await outside.connect()
    with pytest.raises(HttpRefused, match=r'json\["x"\]: a value of type object'):
        await http.post(outside.url, json={"x": object()})
    assert outside.requests == []


# ---- which answers are results


@pytest.mark.parametrize("status", [200, 201, 204, 304, 308])
async def test_2xx_and_3xx_are_results(outside: Outside, status: int) -> None:
    outside.replies(status)
    http = await outside.connect()
    assert (await http.get(outside.url)).status == status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_statuses_that_pass_may_be_tried_again(outside: Outside, status: int) -> None:
    outside.replies(status, "come back later")
    http = await outside.connect()
    with pytest.raises(HttpError, match=f"GET {outside.url}/x answered {status}: come back later") as caught:
        await http.get(f"{outside.url}/x")
    assert caught.value.status == status
    assert not isinstance(caught.value, NonRetryableError)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 501, 505])
async def test_other_errors_stop_the_step_for_good(outside: Outside, status: int) -> None:
    outside.replies(status, '{"error": "no"}')
    http = await outside.connect()
    with pytest.raises(HttpRefused, match=f"answered {status}") as caught:
        await http.get(outside.url)
    assert isinstance(caught.value, NonRetryableError)
    assert (caught.value.status, caught.value.name, caught.value.excerpt) == (status, "HttpRefused", '{"error": "no"}')


@pytest.mark.parametrize("status", [404, 503])
async def test_every_answer_is_a_result_when_asked_for(outside: Outside, status: int) -> None:
    outside.replies(status, "body")
    http = await outside.connect()
    result = await http.get(outside.url, raise_for_status=False)
    assert (result.status, result.text()) == (status, "body")


async def test_retrying_is_left_to_the_step(outside: Outside) -> None:
    outside.replies(503)
    http = await outside.connect()
    with pytest.raises(HttpError):
        await http.get(outside.url)
    assert len(outside.requests) == 1


@pytest.mark.parametrize(
    ("value", "date", "wait"),
    [
        ("7", None, timedelta(seconds=7)),
        ("0", None, timedelta(0)),
        ("99999999999999999999", None, timedelta(days=1)),
        ("Sun, 01 Mar 2026 12:00:30 GMT", "Sun, 01 Mar 2026 12:00:00 GMT", timedelta(seconds=30)),
        ("Sun, 01 Mar 2026 11:00:00 GMT", "Sun, 01 Mar 2026 12:00:00 GMT", timedelta(0)),
        ("Sun, 01 Mar 2099 12:00:00 GMT", None, timedelta(days=1)),
        ("soon", None, None),
        ("-1", None, None),
        ("²", None, None),
        ("", None, None),
    ],
)
def test_retry_after_is_read_from_seconds_or_a_date_and_capped(value: str, date: str | None, wait: timedelta | None) -> None:
    assert read_retry_after({"retry-after": value} | ({"date": date} if date else {})) == wait


async def test_wish_of_the_server_travels_with_the_error(outside: Outside) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    http = await outside.connect()
    for value, most in (("3", 3), (later, 7200)):
        outside.replies(429, retry_after=value)
        with pytest.raises(HttpError) as caught:
            await http.get(outside.url)
        assert caught.value.retry_after is not None
        assert most - 5 <= caught.value.retry_after.total_seconds() <= most


# ---- connections, deadlines, sizes


async def test_server_that_does_not_answer_is_given_up_at_the_deadline(outside: Outside) -> None:
    outside.answer = outside.hang
    http = await outside.connect(timeout="50 ms")
    with pytest.raises(HttpError, match="no complete answer within 50 milliseconds"):
        await http.get(outside.url)


async def test_deadline_covers_the_whole_body_and_a_call_may_set_its_own(outside: Outside) -> None:
    async def begin_then_hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "10"})
        await response.prepare(request)
        await response.write(b"abc")
        await outside.released.wait()
        return response

    outside.answer = begin_then_hang
    http = await outside.connect()
    with pytest.raises(HttpError, match="no complete answer"):
        await http.get(outside.url, timeout="50 ms")


async def test_refused_connection_may_be_tried_again(outside: Outside) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    http = await outside.connect()
    with pytest.raises(HttpError, match=rf"GET http://127.0.0.1:{port}/x: no connection: Connection refused") as caught:
        await http.get(f"http://127.0.0.1:{port}/x")
    assert caught.value.status is None


async def test_answer_that_breaks_off_may_be_tried_again(outside: Outside) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "10"})
        await response.prepare(request)
        await response.write(b"abc")
        assert request.transport is not None
        request.transport.close()
        return response

    outside.answer = break_off
    http = await outside.connect()
    with pytest.raises(HttpError, match="broke off"):
        await http.post(outside.url)


async def test_connection_that_closes_without_an_answer_may_be_tried_again(outside: Outside) -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    outside.answer = close
    http = await outside.connect()
    with pytest.raises(HttpError, match="closed the connection"):
        await http.post(outside.url)


async def test_answer_above_the_cap_is_refused_while_it_is_read(outside: Outside) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 4096)

    outside.answer = endless
    http = await outside.connect(max_response=10_000)
    with pytest.raises(HttpRefused, match="larger than 10000 bytes"):
        await http.get(outside.url)


async def test_cap_counts_what_a_compressed_answer_becomes(outside: Outside) -> None:
    bomb = gzip.compress(b"0" * 1_000_000)
    outside.replies(200, bomb, content_encoding="gzip")
    http = await outside.connect(max_response=len(bomb) * 10)
    with pytest.raises(HttpRefused, match="larger than"):
        await http.get(outside.url)


async def test_answer_at_the_cap_is_a_result(outside: Outside) -> None:
    outside.replies(200, b"x" * 1000)
    http = await outside.connect(max_response=1000)
    assert len((await http.get(outside.url)).body) == 1000


# ---- redirects


async def test_redirects_of_a_get_are_followed(outside: Outside) -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        if request.path == "/old":
            return web.Response(status=302, headers={"location": "/new?x=1"})
        return await outside.echo(request)

    outside.answer = once
    http = await outside.connect()
    result = await http.get(f"{outside.url}/old", params={"a": "1"}, headers={"x-kept": "1"})
    assert result.json() == {"method": "GET", "path": "/new", "query": [["x", "1"]]}
    assert outside.requests[1].headers["x-kept"] == "1"


async def test_redirect_to_another_server_does_not_carry_the_headers_along(outside: Outside) -> None:
    other = Outside()
    await other.start()
    outside.replies(302, location=f"{other.url}/there")
    http = await outside.connect(headers={"x-api-key": CANARY})
    await http.get(outside.url, headers={"authorization": CANARY})
    await other.stop()
    assert CANARY in outside.requests[0].headers.values()
    assert CANARY not in other.requests[0].headers.values()


async def test_redirect_of_a_post_is_a_result(outside: Outside) -> None:
    outside.replies(303, location="/done")
    http = await outside.connect()
    result = await http.post(outside.url, json={})
    assert (result.status, result.headers["location"]) == (303, "/done")
    assert len(outside.requests) == 1


async def test_endless_redirects_are_refused(outside: Outside) -> None:
    outside.replies(302, location="/again")
    http = await outside.connect()
    with pytest.raises(HttpRefused, match="more than 5 redirects"):
        await http.get(outside.url)


# ---- nothing secret in a message


@pytest.mark.parametrize("status", [401, 503])
async def test_message_of_a_failure_shows_no_query_credentials_or_headers(outside: Outside, status: int) -> None:
    outside.replies(status, f'{{"token": "{CANARY}", "echo": "Bearer {CANARY}", "you sent": "{CANARY}-header", "hint": "expired"}}')
    http = await outside.connect(headers={"x-key": f"Bearer {CANARY}-header"})
    address = outside.url.replace("http://", f"http://user:{CANARY}@") + f"/path?key={CANARY}#{CANARY}"
    with pytest.raises((HttpError, HttpRefused)) as caught:
        await http.get(address, headers={"x-token": f"{CANARY}-header"})
    assert CANARY not in str(caught.value)
    assert f"GET {outside.url}/path answered {status}" in str(caught.value)
    assert "expired" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://x:{CANARY}@[bad/?k={CANARY}",
        f"ftp://u:{CANARY}@host/?k={CANARY}",
        f"http://127.0.0.1:99999/?k={CANARY}",
        f"/relative?k={CANARY}",
        "",
    ],
)
async def test_address_that_cannot_be_used_is_refused_without_quoting_it(outside: Outside, url: str) -> None:
    http = await outside.connect()
    with pytest.raises(HttpRefused, match="not a request that can be sent") as caught:
        await http.get(url)
    assert CANARY not in str(caught.value)


async def test_header_with_a_line_break_is_refused_without_quoting_it(outside: Outside) -> None:
    http = await outside.connect()
    with pytest.raises(HttpRefused, match="not a request that can be sent") as caught:
        await http.get(outside.url, headers={"x-a": f"{CANARY}\r\nx-injected: y"})
    assert CANARY not in str(caught.value)
    assert outside.requests == []


async def test_name_that_cannot_be_resolved_may_be_tried_again(outside: Outside) -> None:
    http = await outside.connect()
    with pytest.raises(HttpError, match="GET http://nowhere.invalid/: no connection: "):
        await http.get("http://nowhere.invalid/")


async def test_excerpt_is_short_and_on_one_line(outside: Outside) -> None:
    outside.replies(400, "<html>\n\n  <b>no</b>\x00\x1b[31m" + "x" * 10_000)
    http = await outside.connect()
    with pytest.raises(HttpRefused) as caught:
        await http.get(outside.url)
    assert caught.value.excerpt.startswith("<html> <b>no</b> [31mxxx")
    assert caught.value.excerpt.isprintable()
    assert len(caught.value.excerpt) == 300


def test_configured_headers_are_never_shown() -> None:
    config = HttpConfig(headers={"authorization": SecretStr(CANARY)})
    assert CANARY not in repr(config)
    assert CANARY not in config.model_dump_json()


def test_shown_address_is_scheme_host_and_path() -> None:
    assert shown_url("https://u:p@api.example.com:8443/v1/x;y?q=1#f") == "https://api.example.com:8443/v1/x;y"


# ---- reading results, life, configuration


async def test_text_is_read_in_the_charset_that_the_server_names(outside: Outside) -> None:
    http = await outside.connect()
    for charset in ("iso-8859-1", "utf-8", "no-such-charset"):
        outside.replies(
            200, "größe".encode("utf-8" if charset == "no-such-charset" else charset), content_type=f"text/plain; charset={charset}"
        )
        assert (await http.get(outside.url)).text() == "größe"


async def test_json_of_an_answer_that_has_none_says_where(outside: Outside) -> None:
    outside.replies(200, "<html>")
    http = await outside.connect()
    with pytest.raises(Rejected, match="line 1 column 1"):
        (await http.get(outside.url)).json()


async def test_connections_are_pooled_and_cookies_are_not_shared(outside: Outside) -> None:
    outside.replies(200, set_cookie="session=a; Path=/")
    http = await outside.connect()
    for _ in range(3):
        await http.get(outside.url)
    assert len({id(request.transport) for request in outside.requests}) == 1
    assert all("cookie" not in request.headers for request in outside.requests)


async def test_ping_reaches_the_base_address_whatever_it_answers(outside: Outside) -> None:
    outside.replies(404)
    http = await outside.connect(base_url=f"{outside.url}/v1")
    await http.ping()
    assert [(request.method, request.path) for request in outside.requests] == [("HEAD", "/v1")]
    outside.answer = outside.hang
    unreachable = await outside.connect(base_url=f"{outside.url}/v1", timeout="50 ms")
    with pytest.raises(HttpError):
        await unreachable.ping()


async def test_connector_opens_and_closes_twice_and_refuses_work_when_closed(outside: Outside) -> None:
    http = HttpConnector(HttpConfig())
    assert isinstance(http, Connector)
    await http.close()
    await http.open()
    await http.open()
    assert (await http.get(outside.url)).status == 200
    await http.close()
    await http.close()
    with pytest.raises(ConfigError, match="not open"):
        await http.get(outside.url)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"base_url": "example.com"}, "is not an address"),
        ({"base_url": "ftp://example.com"}, "is not an address"),
        ({"base_url": "https://example.com/?a=1"}, "without a query"),
        ({"base_url": f"ftp://u:{CANARY}@example.com"}, "is not an address"),
        ({"timeout": "5 parsecs"}, "unknown unit"),
        ({"timeout": "0 seconds"}, "zero leaves no time"),
        ({"max_response": 0}, "greater than or equal"),
        ({"base": "x"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word) as caught:
        HttpConfig(**options)
    error = caught.value.errors(include_input=False)[0]
    assert error["loc"] == tuple(options)
    assert CANARY not in error["msg"]


async def test_wrong_timeout_of_a_call_is_refused(outside: Outside) -> None:
    http = await outside.connect()
    with pytest.raises(HttpRefused, match="unknown unit"):
        await http.get(outside.url, timeout="5 parsecs")
