"""Which grants a revocation takes back. Pure; the same wherever grants are used."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

from events.grants import Grant, IPAddress
from events.names import MirrorName
from events.schemas import GrantsRevoked

_MAPPED_BITS = 96


def revokes(revoked: GrantsRevoked, grant: Grant, *, mirror: MirrorName, address: IPAddress | None = None) -> bool:
    """Tell whether a proven grant for a mirror was taken back.

    By network it is when all addresses that the grant is bound to are in it, or the visitor's own is. So a grant that
    is bound to more (a /24, everybody) is taken back from the visitor alone, where he is known.

    Args:
        revoked: what the master said.
        grant: what the token says.
        mirror: whom the token is for; ``origin`` for the master.
        address: where the visitor comes from; None where that is not known.
    """
    if grant.start_by_s > revoked.start_by_s_max:
        return False
    return (
        revoked.mirror in (None, mirror)
        and revoked.grant_id in (None, grant.grant_id)
        and revoked.sha256 in (None, grant.sha256)
        and (revoked.network is None or _is_of(ip_network(revoked.network), grant, address))
    )


def _is_of(network: IPv4Network | IPv6Network, grant: Grant, address: IPAddress | None) -> bool:
    if address is not None and address in network:
        return True
    return grant.prefix_bits > 0 and _is_within(grant.address, grant.prefix_bits, network)


def _is_within(bound: IPv6Address, prefix_bits: int, network: IPv4Network | IPv6Network) -> bool:
    mapped = bound.ipv4_mapped
    if mapped is not None and prefix_bits >= _MAPPED_BITS:
        return mapped in network and prefix_bits - _MAPPED_BITS >= network.prefixlen
    return bound in network and prefix_bits >= network.prefixlen
