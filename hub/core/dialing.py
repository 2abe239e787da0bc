"""Why a connection to another server did not come about, in words that say what to do.

Knows the errors of the standard library and no protocol. Never shows more of a url than its host and port.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

_ANOTHER_NAME = (62, 64)  # of OpenSSL: the certificate is for another host name, or for another address
_EXPIRED = 10


class Undialled(OSError):
    """There is no connection. `hopeless` until somebody changes a setting, a file or the server."""

    def __init__(self, message: str, *, hopeless: bool) -> None:
        super().__init__(message)
        self.hopeless = hopeless


def undialled(error: OSError, host: str | None, port: int | None) -> Undialled:
    """Say why an attempt to connect to the address in a url has failed."""
    at = f"{host}:{port}"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Undialled(f"the certificate of {at} is refused: {cause.verify_message}; {_certificate_cure(cause)}", hopeless=True)
        if isinstance(cause, ssl.SSLError):
            said = (cause.reason or str(cause)).lower().replace("_", " ")
            return Undialled(f"no TLS with {at}: {said}; check scheme and port of the url", hopeless=False)
        if isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
            return Undialled(f"a certificate file that the url names cannot be read: {_said(cause)}", hopeless=True)
        if isinstance(cause, socket.gaierror):
            return Undialled(f"the host {host} is not known ({_said(cause)}); check it in the url", hopeless=False)
        if isinstance(cause, ConnectionRefusedError):
            return Undialled(f"nobody listens at {at}; is the server running, and the port of the url right?", hopeless=False)
    return Undialled(f"no connection to {at}: {_said(error)}", hopeless=False)


def _certificate_cure(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _ANOTHER_NAME:
        return "write the name that it is made for into the url"
    if error.verify_code == _EXPIRED:
        return "give the server a new one"
    return "if it is right, name the authority that has signed it in the url: ?cafile=/path/to/ca.pem"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and what it came from: libraries wrap errors in their own."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(part) for part in error.args) or type(error).__name__
