"""Taking a port. Owns the rules of addresses and the words for what can go wrong; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from hub.core.errors import ConfigError

_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # not bound here: turned into what can be called
_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})  # "localhost" has an IPv6 address even where IPv6 is off


async def take_port(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of the host, all on one port, not yet listening. Port 0 takes a free one. Raises: ConfigError."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bound(family, (address[0], chosen, *address[2:])))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not sockets and absent is not None:
            raise absent
    except OSError as error:
        for taken in sockets:
            taken.close()
        raise cannot_listen(host, port, error) from error
    return sockets


def cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    """Return the error for a port that cannot be had, with the cure."""
    place = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        message = f"{place} is in use by another program; stop it, or choose another port with --port or HUB_SERVER_PORT"
        return ConfigError(message, path="server.port")
    if error.errno == errno.EACCES:
        message = f"this user may not open {place}; choose a port above 1023 with --port or HUB_SERVER_PORT"
        return ConfigError(message, path="server.port")
    reason = error.strerror or str(error)
    message = f"cannot listen on {place}: {reason}; choose an address of this machine with --host or HUB_SERVER_HOST"
    return ConfigError(message, path="server.host")


def reachable(host: str, port: int) -> str:
    """Turn the address that is listened on into a URL that this machine can call: "all addresses" is none."""
    host = _ALL_ADDRESSES.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows the option would let two programs share a port
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections to fade
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own socket
        taken.setblocking(False)
        taken.bind(address)
    except BaseException:
        taken.close()
        raise
    return taken
