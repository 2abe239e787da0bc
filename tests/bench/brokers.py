"""Where the bench finds an AMQP broker."""

from __future__ import annotations

import os

import pika
from pika.exceptions import AMQPError

_LOCAL = "amqp://guest:guest@127.0.0.1:5672/"


def broker_url() -> str:
    """Return the address of the broker with which to measure."""
    return os.environ.get("HUB_TEST_AMQP_URL") or _LOCAL


def missing() -> str | None:
    """Return why nothing can be measured with AMQP; None = it can."""
    try:
        pika.BlockingConnection(pika.URLParameters(broker_url())).close()
    except (AMQPError, OSError) as error:
        return f"nobody comes in at the AMQP broker ({type(error).__name__}); HUB_TEST_AMQP_URL chooses another one"
    return None
