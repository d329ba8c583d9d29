"""Whether somebody on this machine asks, and no proxy for somebody else: the operator.

He may know why something does not work; what a stranger learns from that is of use to him only.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from edge.visitors import FORWARDED_FOR, FORWARDED_PROTO, believes, parse_proxies, peer_of

_LOOPBACK: Final = parse_proxies(("127.0.0.0/8", "::1/128"))
# One of them at least is written by whatever common proxy, though it be set up to tell nothing of its visitors.
_SAID_BY_PROXIES: Final = (FORWARDED_FOR, FORWARDED_PROTO, "X-Forwarded-Host", "X-Real-IP", hdrs.FORWARDED, hdrs.VIA)


def is_local(request: web.Request) -> bool:
    """Tell whether the operator asks, on this machine."""
    is_direct = not any(name in request.headers for name in _SAID_BY_PROXIES)
    return is_direct and believes(peer_of(request), _LOOPBACK)
