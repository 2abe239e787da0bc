"""Queues over TLS: a proxy that speaks it before the real broker, with certificates of the test's own making."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connectors.amqp import AmqpConnector, AmqpRefused
from hub.plugins import parse_options
from tests.triggers.broker import Broker
from tests.triggers.proxy import proxied
from tests.triggers.queues import Consuming, until


def _certified(folder: Path, *, address: str = "127.0.0.1", days: int = 1) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate that nobody else has signed, and what a server needs for it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    folder.mkdir(exist_ok=True)
    chain, private = folder / "broker.pem", folder / "broker.key"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return chain, context


async def _told(tmp_path: Path, url: str) -> str:
    """Return how a trigger with that url describes its first failure."""
    consuming = Consuming(tmp_path / "hub.sqlite", url)
    await consuming.consume("no-matter", wait=False)
    await until(lambda: "trying again in" in consuming.health.message)
    health = consuming.health
    await consuming.stop()
    return f"{health.phase}: {health.message}"


async def test_messages_come_and_go_over_tls_where_the_url_names_the_authority(broker: Broker, tmp_path: Path) -> None:
    queue = broker.queue()
    chain, tls = _certified(tmp_path / "tls")
    async with proxied(broker.url, tls) as (_, url):
        trusting = f"{url}?cafile={chain}"
        sender = AmqpConnector(parse_options(AmqpConnector, {"url": trusting, "queue": queue}, "connectors.0"))
        await sender.send({"n": 1})
        await sender.close()
        consuming = Consuming(tmp_path / "hub.sqlite", trusting)
        await consuming.consume(queue)
        assert await consuming.payloads(1) == [{"n": 1}]
        await consuming.stop()


@pytest.mark.parametrize(
    ("address", "days", "cure"),
    [
        ("127.0.0.1", 1, "name the authority that has signed it in the url: ?cafile="),
        ("192.0.2.1", 1, "write the name that it is made for into the url"),
        ("127.0.0.1", -1, "give the server a new one"),
    ],
    ids=["of nobody", "of another", "of yesterday"],
)
async def test_a_certificate_that_is_not_believed_is_told_with_what_to_do(
    amqp_url: str, tmp_path: Path, address: str, days: int, cure: str
) -> None:
    chain, tls = _certified(tmp_path / "tls", address=address, days=days)
    async with proxied(amqp_url, tls) as (_, url):
        seen = url if "cafile" in cure else f"{url}?cafile={chain}"
        told = await _told(tmp_path, seen)
        sender = AmqpConnector(parse_options(AmqpConnector, {"url": seen}, "connectors.0"))
        with pytest.raises(AmqpRefused, match="the certificate of 127.0.0.1") as refused:
            await sender.ping()
        await sender.close()

    assert told.startswith("error: the certificate of 127.0.0.1")
    assert cure in told
    assert cure in str(refused.value)


async def test_a_url_that_leads_nowhere_is_told_with_what_to_do(amqp_url: str, tmp_path: Path) -> None:
    _, tls = _certified(tmp_path / "tls")
    async with proxied(amqp_url, tls) as (proxy, url), proxied(amqp_url) as (_, plain):
        expected = {
            plain.replace("amqp:", "amqps:"): "connecting: no TLS with 127.0.0.1",
            url.replace("amqps:", "amqp:"): f"connecting: 127.0.0.1:{proxy.port} does not answer as a broker does",
            f"{url}?cafile=/no/such/file": "error: a certificate file that the url names cannot be read",
            "amqp://no-such-host.invalid/": "connecting: the host no-such-host.invalid is not known",
            "amqp://127.0.0.1:1/": "connecting: nobody listens at 127.0.0.1:1; is the server running",
        }
        for wrong, words in expected.items():
            assert (await _told(tmp_path, wrong)).startswith(words), wrong
