"""Who a webhook believes: requests of every known sender, made by their own packages, and all that can be wrong with them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from hub.core.errors import ConfigError
from hub.core.model import HttpRequest
from hub.plugins import parse_options
from tests.triggers import senders
from tests.triggers.senders import BODY, DATED, GENERIC, NOW, SENDERS, SIGNING, WHSEC, request
from triggers._hook_config import HttpConfig, Preset, VerifyConfig
from triggers._schemes import PRESETS, Scheme, check
from triggers._signatures import Refused, Verifier, delivery_id

FORM = "application/x-www-form-urlencoded; charset=UTF-8"
TWILIO_FORM = b"Digits=1234&CallSid=CA1234567890ABCDE&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"


class Hook:
    """What stands behind a kind, as far as its settings are concerned."""

    Config: ClassVar[type] = HttpConfig


def verifier(preset: str, *secrets: str, **options: Any) -> Verifier:
    return VerifyConfig(preset=preset, secrets=secrets, **options).verifier()  # type: ignore[arg-type]  # as a file gives it


def sent(name: str, *, secret: str | None = None, body: bytes = BODY, at: datetime = NOW) -> HttpRequest:
    """Return the request that a sender makes with its secret."""
    preset, _, own, _, sign = SENDERS[name]
    target = f"/hooks/in?bodySHA256={hashlib.sha256(body).hexdigest()}" if preset == "twilio" else "/hooks/in"
    return request(sign(secret or own, body, at), body, target=target)


def believes(name: str, *secrets: str, asked: HttpRequest, now: datetime = NOW) -> bool:
    preset, options, *_ = SENDERS[name]
    try:
        verifier(preset, *secrets, **options).check(asked, now)
    except Refused:
        return False
    return True


# ---- each known sender


def test_every_preset_is_tried_and_none_is_unknown_to_the_settings() -> None:
    assert {preset for preset, *_ in SENDERS.values()} | {"ed25519"} == set(PRESETS) == set(Preset.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SENDERS)
def test_request_of_the_sender_is_believed_and_no_other_secret_fits(name: str) -> None:
    _, _, secret, other, _ = SENDERS[name]
    assert believes(name, secret, asked=sent(name))
    assert not believes(name, other, asked=sent(name))


@pytest.mark.parametrize("name", SENDERS)
def test_while_a_secret_is_replaced_both_are_believed(name: str) -> None:
    _, _, secret, other, _ = SENDERS[name]
    assert believes(name, other, secret, asked=sent(name))
    assert believes(name, secret, other, asked=sent(name))


@pytest.mark.parametrize("name", SIGNING)
@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"1.0", b"2.0"), b"", b'{"id":"evt_1","n":1.0}'])
def test_other_bytes_than_the_signed_ones_are_not_believed(name: str, body: bytes) -> None:
    assert not believes(name, SENDERS[name][2], asked=dataclasses.replace(sent(name), body=body))


@pytest.mark.parametrize("name", SENDERS)
def test_request_without_any_of_its_headers_is_not_believed(name: str) -> None:
    asked = sent(name)
    proofs = set(asked.headers) - {"content-type", "idempotency-key", "x-github-delivery", "x-shopify-webhook-id"}
    for header in proofs:
        rest = {key: value for key, value in asked.headers.items() if key != header}
        assert not believes(name, SENDERS[name][2], asked=dataclasses.replace(asked, headers=rest)), header
        assert not believes(name, SENDERS[name][2], asked=dataclasses.replace(asked, headers={**rest, header: ""})), header


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize(
    "junk", ["x", "=", ",", "v1,", "v1=,v1", "t=1,v1=\udcff", "sha256=zz", "Basic !!", "Bearer", "\udcff" * 10, "0" * 4000]
)
def test_proof_that_is_none_is_refused_without_a_failure(name: str, junk: str) -> None:
    asked = sent(name)
    for header in set(asked.headers) - {"content-type", "idempotency-key", "x-github-delivery", "x-shopify-webhook-id"}:
        broken = dataclasses.replace(asked, headers={**asked.headers, header: junk})
        assert not believes(name, SENDERS[name][2], asked=broken), header


@pytest.mark.parametrize("name", DATED)
@pytest.mark.parametrize(("off_s", "believed"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_timestamp_may_be_five_minutes_off_in_both_directions(name: str, off_s: int, believed: bool) -> None:
    assert believes(name, SENDERS[name][2], asked=sent(name, at=NOW + timedelta(seconds=off_s))) is believed


@pytest.mark.parametrize("name", DATED)
def test_tolerance_can_be_set(name: str) -> None:
    preset, options, secret, *_ = SENDERS[name]
    strict = verifier(preset, secret, **options, tolerance="10 seconds")
    strict.check(sent(name, at=NOW - timedelta(seconds=10)), NOW)
    with pytest.raises(Refused, match="11 seconds old"):
        strict.check(sent(name, at=NOW - timedelta(seconds=11)), NOW)


@pytest.mark.parametrize("timestamp", ["", "soon", "-1", "1e9", " 1772366400", "١٧٧٢٣٦٦٤٠٠", "9" * 16])
def test_timestamp_that_is_no_plain_number_is_refused(timestamp: str) -> None:
    headers = senders.standard(WHSEC, BODY, NOW) | {"webhook-timestamp": timestamp}
    assert not believes("standard", WHSEC, asked=request(headers))


# ---- what single senders do


def test_githubs_published_example_is_believed() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    check = verifier("github", "It's a Secret to Everybody")
    check.check(request({"x-hub-signature-256": signature}, b"Hello, World!"), NOW)
    with pytest.raises(Refused):
        check.check(request({"x-hub-signature-256": signature}, b"Hello, World?"), NOW)


def test_slacks_published_example_is_believed() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&"
        b"user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "x-slack-request-timestamp": "1531420618",
    }
    verifier("slack", "8f742231b10e8888abcd99yyyzzz85a5").check(request(headers, body), datetime.fromtimestamp(1531420618, NOW.tzinfo))


@pytest.mark.parametrize("url", ["https://mycompany.com", "https://mycompany.com:443", "https://mycompany.com/myapp.php"])
@pytest.mark.parametrize("signed", ["https://mycompany.com/myapp.php?foo=1&bar=2", "https://mycompany.com:443/myapp.php?foo=1&bar=2"])
def test_twilios_published_form_is_believed_behind_a_proxy_with_and_without_the_port(url: str, signed: str) -> None:
    message = f"{signed}CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212"
    signature = base64.b64encode(hmac.new(b"12345", message.encode(), "sha1").digest()).decode()
    if ":443" not in signed:
        assert signature == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    form = request({"x-twilio-signature": signature}, TWILIO_FORM, target="/myapp.php?foo=1&bar=2", content_type=FORM)
    verifier("twilio", "12345", url=url).check(form, NOW)
    with pytest.raises(Refused, match="verify.url"):
        verifier("twilio", "12345").check(form, NOW)


def test_twilios_published_json_is_believed_by_the_digest_in_its_address() -> None:
    body = b'{"property": "value", "boolean": true}'
    target = "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    check = verifier("twilio", "12345", url="https://mycompany.com")
    headers = {"x-twilio-signature": "a9nBmqA0ju/hNViExpshrM61xv4="}
    check.check(request(headers, body, target=target), NOW)
    with pytest.raises(Refused, match="bodySHA256"):
        check.check(request(headers, body + b" ", target=target), NOW)


def test_signature_over_an_address_alone_covers_no_body() -> None:
    url = "http://hub:8787/hooks/in"
    headers = {"x-twilio-signature": base64.b64encode(hmac.new(b"12345", url.encode(), "sha1").digest()).decode()}
    check = verifier("twilio", "12345")
    check.check(request(headers, b""), NOW)
    with pytest.raises(Refused, match="covers the body"):
        check.check(request(headers, BODY), NOW)


def test_repeated_field_of_a_twilio_form_counts_once_for_each_value() -> None:
    message = "http://hub:8787/hooks/inaxayb"
    headers = {"x-twilio-signature": base64.b64encode(hmac.new(b"12345", message.encode(), "sha1").digest()).decode()}
    verifier("twilio", "12345").check(request(headers, b"a=y&b=&a=x&a=y", content_type=FORM), NOW)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_any_of_several_stripe_signatures_counts_and_v0_never_does(position: int) -> None:
    seconds = int(NOW.timestamp())
    right = senders.stripe_("s", BODY, NOW)["stripe-signature"].split(",")[1].removeprefix("v1=")
    items = ["v1=" + "0" * 64, "v1=" + "1" * 64]
    items.insert(position, f"v1={right}")
    check = verifier("stripe", "s")
    check.check(request({"stripe-signature": f"t={seconds}, " + ",".join(items)}), NOW)
    with pytest.raises(Refused):
        check.check(request({"stripe-signature": f"t={seconds},v0={right}"}), NOW)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_any_of_several_standard_signatures_counts(position: int) -> None:
    headers = senders.standard(WHSEC, BODY, NOW)
    items = ["v1," + base64.b64encode(bytes(32)).decode(), "v1a,AAAA"]
    items.insert(position, headers["webhook-signature"])
    verifier("standard-webhooks", WHSEC).check(request(headers | {"webhook-signature": " ".join(items)}), NOW)


def test_symmetric_and_asymmetric_secrets_stand_beside_each_other() -> None:
    public = SENDERS["asymmetric"][2]
    both = verifier("standard-webhooks", public, WHSEC)
    both.check(sent("standard"), NOW)
    both.check(sent("asymmetric"), NOW)
    with pytest.raises(Refused):
        verifier("standard-webhooks", public).check(sent("standard"), NOW)


def test_public_key_is_no_shared_secret() -> None:
    """Whoever knows a public key, which is everybody, must not be able to sign with it as if it were a shared secret."""
    public = SENDERS["asymmetric"][2]
    forged = senders.standard(public.replace("whpk_", "whsec_"), BODY, NOW)
    with pytest.raises(Refused):
        verifier("standard-webhooks", public).check(request(forged), NOW)


def test_gitlab_may_send_its_token_while_signing_is_introduced() -> None:
    both = verifier("gitlab", "a-token", WHSEC)
    both.check(sent("gitlab"), NOW)
    both.check(sent("gitlab signing"), NOW)
    with pytest.raises(Refused):
        verifier("gitlab", WHSEC).check(sent("gitlab"), NOW)


def test_signatures_in_one_header_are_not_looked_at_without_end() -> None:
    headers = senders.standard(WHSEC, BODY, NOW)
    wrong = " ".join(["v1," + base64.b64encode(bytes(32)).decode()] * 100)
    with pytest.raises(Refused):
        verifier("standard-webhooks", WHSEC).check(request(headers | {"webhook-signature": f"{wrong} {headers['webhook-signature']}"}), NOW)


def test_secret_may_come_in_the_query_where_no_header_can_be_set() -> None:
    check = verifier("token", "abc", query="code")
    check.check(request({}, target="/hooks/in?code=abc"), NOW)
    for target in ("/hooks/in", "/hooks/in?code=", "/hooks/in?code=abd"):
        with pytest.raises(Refused):
            check.check(request({}, target=target), NOW)
    assert check.queries == {"code"}


@pytest.mark.parametrize("header", ["t0ken", "Basic t0ken", "Bearer", "Bearer  other", "Bearert0ken"])
def test_bearer_means_bearer(header: str) -> None:
    check = verifier("bearer", "t0ken")
    check.check(request({"authorization": "bearer  t0ken "}), NOW)
    with pytest.raises(Refused):
        check.check(request({"authorization": header}), NOW)


def test_reason_of_a_refusal_names_the_header_and_no_secret() -> None:
    for name, (preset, options, secret, other, _) in SENDERS.items():
        with pytest.raises(Refused) as caught:
            verifier(preset, other, **options).check(sent(name), NOW)
        assert secret not in str(caught.value)
        assert other not in str(caught.value)


# ---- the id of a delivery


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("standard", {"id": "x"}, "msg_1"),
        ("svix", {"id": "x"}, "msg_1"),
        ("github", {"id": "x"}, "d1"),
        ("stripe", {"id": "evt_1"}, "evt_1"),
        ("stripe", ["evt_1"], None),
        ("stripe", {"id": True}, None),
        ("slack", {"event_id": "Ev1", "id": "x"}, "Ev1"),
        ("slack", {"trigger_id": "t.1"}, "t.1"),
        ("shopify", {"id": 1}, "w1"),
        ("gitlab", {"id": 1}, "k1"),
        ("square", {"event_id": "e1"}, "e1"),
        ("discord", {"id": 123456789}, "123456789"),
        ("hmac", {"id": "x"}, None),
        ("token", {"id": "x"}, None),
    ],
)
def test_id_of_a_delivery_stands_where_its_sender_puts_it(name: str, payload: Any, expected: str | None) -> None:
    preset, options, secret, *_ = SENDERS[name]
    asked = sent(name)
    proven = verifier(preset, secret, **options).check(asked, NOW)
    assert delivery_id(proven, asked, payload) == expected


@pytest.mark.parametrize("name", ["slack", "twilio", "meta"])
def test_sender_without_ids_is_recognised_by_its_signature(name: str) -> None:
    preset, options, secret, *_ = SENDERS[name]
    check = verifier(preset, secret, **options)

    def id_of(asked: HttpRequest) -> str | None:
        return delivery_id(check.check(asked, NOW), asked, {})

    assert id_of(sent(name)) == id_of(sent(name)) is not None
    assert id_of(sent(name)) != id_of(sent(name, body=BODY + b" "))
    assert (id_of(sent(name)) == id_of(sent(name, at=NOW - timedelta(seconds=1)))) is (name not in DATED)


def test_signature_that_is_written_in_another_way_is_the_same_delivery() -> None:
    hook = verifier("meta", "m")
    plain = senders.github("m", BODY, NOW)["x-hub-signature-256"]
    written = [plain, "sha256=" + plain.removeprefix("sha256=").upper(), f" {plain} "]
    asked = [request({"x-hub-signature-256": each}) for each in written]
    assert len({delivery_id(hook.check(each, NOW), each, {}) for each in asked}) == 1


def test_form_whose_fields_were_put_in_another_order_is_the_same_delivery() -> None:
    hook = verifier("twilio", "12345", url="https://example.com/myapp")
    message = b"https://example.com/myappa1b2"
    headers = {"x-twilio-signature": base64.b64encode(hmac.new(b"12345", message, "sha1").digest()).decode()}
    one, other = (request(headers, body, content_type=FORM, target="/hooks/in") for body in (b"a=1&b=2", b"b=2&a=1"))
    assert delivery_id(hook.check(one, NOW), one, {}) == delivery_id(hook.check(other, NOW), other, {})


# ---- the settings


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("secrets", [[], [""], ["  "], ["good", ""]])
def test_missing_or_empty_secret_is_refused_when_the_project_loads(preset: str, secrets: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(Hook, {"verify": {"preset": preset, "secrets": secrets}}, "triggers.0")
    assert "triggers.0.verify.secrets" in caught.value.message
    assert "good" not in caught.value.message


@pytest.mark.parametrize(
    ("verify", "place", "word"),
    [
        ({"secrets": ["topsecret"]}, "verify.preset", "is required"),
        ({"preset": "github"}, "verify.secrets", "is required"),
        ({"preset": "githup", "secrets": ["topsecret"]}, "verify.preset", "'github'"),
        ({"preset": "github", "secret": "topsecret"}, "verify.secret", "did you mean secrets?"),
        ({"preset": "github", "secrets": [123456]}, "verify.secrets.0", "expected text"),
        ({"preset": "standard-webhooks", "secrets": ["whsec_topsecret!"]}, "verify", "secrets.0: the secret is not base64"),
        ({"preset": "discord", "secrets": ["topsecret"]}, "verify", "secrets.0: the secret is not hex"),
        ({"preset": "discord", "secrets": ["abcdef123456"]}, "verify", "32 bytes"),
        ({"preset": "basic", "secrets": ["topsecret"]}, "verify", "user:password"),
        ({"preset": "hmac", "secrets": ["topsecret"]}, "verify", "`header`"),
        ({"preset": "token", "secrets": ["topsecret"]}, "verify", "`header` or the `query`"),
        ({"preset": "token", "secrets": ["topsecret"], "header": "x-a", "query": "b"}, "verify", "either"),
        ({"preset": "bearer", "secrets": ["topsecret"], "header": "x-a"}, "verify", "`header` says nothing"),
        ({"preset": "token", "secrets": ["topsecret"], "header": "x-a", "template": "{body}"}, "verify", "`template` says nothing"),
        ({"preset": "github", "secrets": ["topsecret"], "query": "a"}, "verify", "`query` says nothing"),
        ({"preset": "discord", "secrets": ["topsecret"], "algorithm": "sha1"}, "verify", "`algorithm` says nothing"),
        ({"preset": "github", "secrets": ["topsecret"], "algorithm": "md5"}, "verify.algorithm", "'sha1'"),
        ({"preset": "github", "secrets": ["topsecret"], "encoding": "text"}, "verify.encoding", "hex or base64"),
        ({"preset": "github", "secrets": ["topsecret"], "template": "{timestamp}"}, "verify", "{body} unsigned"),
        ({"preset": "github", "secrets": ["topsecret"], "template": "{body}{date}"}, "verify", "{date}"),
        ({"preset": "github", "secrets": ["topsecret"], "template": "{id}{body}"}, "verify", "`id_header`"),
        ({"preset": "github", "secrets": ["topsecret"], "template": "{timestamp}{body}"}, "verify", "`timestamp_header`"),
        ({"preset": "github", "secrets": ["topsecret"], "timestamp_header": "date"}, "verify", "unsigned"),
        ({"preset": "shopify", "secrets": ["topsecret"], "field": "v1"}, "verify", "belong together"),
        ({"preset": "github", "secrets": ["topsecret"], "tolerance": "2 days"}, "verify.tolerance", "from 1 second to 1 day"),
        ({"preset": "github", "secrets": ["topsecret"], "tolerance": "soon"}, "verify.tolerance", "not a duration"),
        ({"preset": "github", "secrets": ["topsecret"], "status": 403}, "verify.status", "400"),
        ({"preset": "twilio", "secrets": ["topsecret"], "url": "hooks.example.com"}, "verify.url", "not an address"),
        ({"preset": "twilio", "secrets": ["topsecret"], "url": "https://x.example/?a=b"}, "verify.url", "without a query"),
        ({"preset": "github", "secrets": ["topsecret"], "header": "a b"}, "verify.header", "name of a header"),
    ],
)
def test_wrong_verification_is_refused_by_its_key_without_the_secret(verify: dict[str, Any], place: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(Hook, {"verify": verify}, "triggers.0")
    assert caught.value.path == f"triggers.0.{place}"
    assert word in caught.value.message
    assert "topsecret" not in caught.value.message
    assert "123456" not in caught.value.message


def test_one_secret_may_stand_without_brackets() -> None:
    VerifyConfig(preset="github", secrets="abc").verifier().check(request(senders.github("abc", BODY, NOW)), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SENDERS)
def test_no_secret_is_shown_by_settings_or_trigger(name: str) -> None:
    preset, options, secret, *_ = SENDERS[name]
    config = parse_options(Hook, {"verify": {"preset": preset, "secrets": [secret], **options}}, "triggers.0")
    shown = [repr(config), str(config), config.model_dump_json(), repr(config.verify.verifier().__dict__)]
    assert not any(secret in text for text in shown)
    with pytest.raises(ValidationError) as caught:
        VerifyConfig(preset=preset, secrets=(secret, ""), **options)  # type: ignore[arg-type]
    assert secret not in str(caught.value)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{name} {n}") for name, rows in PRESETS.items() for n, row in enumerate(rows)])
def test_presets_sign_body_and_timestamp(row: Scheme) -> None:
    check(row if row.header else dataclasses.replace(row, header="x-any"))


def test_sender_that_nobody_has_heard_of_is_data() -> None:
    check = verifier("hmac", "wile-e", **GENERIC)
    assert check.headers == {"x-acme-sign"}
    check.check(sent("hmac"), NOW)
