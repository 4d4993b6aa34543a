"""A server answers to its own name only, which a page of somebody else cannot take on."""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit


def is_own(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names an IP address, which nobody else's page can be served from, or one of `names`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in names or _is_address(name)


def own_names(host: str, others: Sequence[str] = ()) -> list[str]:
    """What a server on `host` is called: anything, if machines elsewhere may reach it."""
    bare = host.strip("[]")
    local = ipaddress.ip_address(bare).is_loopback if _is_address(bare) else host == "localhost"
    return ["localhost", socket.gethostname(), *others] if local else []


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
