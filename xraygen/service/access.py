"""Who may use the service: those with a key, or, without keys, programs on the same machine."""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import NamedTuple

from xraygen.core.errors import UserError
from xraygen.service import logs
from xraygen.service.keys import Keys


class Access(NamedTuple):
    """`addresses`: to bind to, resolved once so that what was judged is what is bound. `local`:
    whether there are no keys and only programs on this machine are served.
    """

    keys: Keys
    addresses: list[str]
    local: bool


def decide(host: str, keys: Keys, insecure: bool) -> Access:
    """`insecure`: --insecure-no-auth. UserError: the host is unknown, or others than this machine
    could reach the service without a key.
    """
    addresses = _resolve(host)
    if keys and insecure:
        raise UserError("--insecure-no-auth: there are API keys; remove them or the option")
    if keys:
        return Access(keys, addresses, local=False)
    if insecure:
        logs.event("no-keys", message="Anyone who reaches the service may use it.")
        return Access(keys, addresses, local=False)
    if not all(_is_loopback(address) for address in addresses):
        raise UserError(
            f"--host {host}: without API keys the service binds to loopback only; "
            "make a key with `xraygen api-key NAME`"
        )
    logs.event("no-keys", message="No API keys: only programs on this machine are served.")
    return Access(keys, addresses, local=True)


@functools.lru_cache(64)
def is_local_name(host: str) -> bool:
    """Whether the value of a Host header names loopback.

    Without keys, any other is refused: a web page may give its own host name the address 127.0.0.1
    (DNS rebinding), and the browser then lets it read what the service answers.
    """
    name = host.lower()
    if not name.endswith("]"):
        name, colon, port = name.rpartition(":") if ":" in name else (name, "", "")
        if colon and not port.isdecimal():
            return False
    if name == "localhost":
        return True
    try:
        return _is_loopback(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False


def _resolve(host: str) -> list[str]:
    if not host:  # what asyncio takes for all interfaces
        return ["0.0.0.0", "::"]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"--host {host}: no such host") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)  # before Python 3.13 not seen as loopback
    return (mapped or parsed).is_loopback
