"""Administration of mirrors, and what mirrors themselves ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from broker.provision import Provisioned
from broker.topology import mirror_queue
from edge.auth import bearer_of
from edge.tracing import trace_of
from events.invitation import Invitation, write_invitation
from events.names import ChannelName, MirrorName, parse_channel, parse_mirror
from master.channels import Channels
from master.errors import ForbiddenError
from master.joining import Credentials, Joining
from master.mirrors import Mirror
from master.web.bodies import InviteBody, JoinBody, RotateBody, RuleBody, answer, profile_json, read_body, rule_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """How others reach the site."""

    master: str
    site: str


class MirrorRoutes:
    """``/-/api/v1/mirrors`` for administrators."""

    def __init__(self, joining: Joining, urls: Callable[[], Urls]) -> None:
        self._joining = joining
        self._urls = urls

    async def list(self, _request: web.Request) -> web.Response:
        """List the fleet."""
        return answer(
            {
                "mirrors": [
                    {"mirror": mirror.name, "state": mirror.state.value, "channels": channels, "joins": mirror.joins}
                    | {"key_epoch": mirror.keys.newest, "oldest_epoch": mirror.keys.oldest}
                    | {"profile": profile_json(mirror.profile), "rule": rule_json(mirror.rule)}
                    for mirror, channels in await self._joining.mirrors()
                ]
            }
        )

    async def invite(self, request: web.Request) -> web.Response:
        """Invite a mirror; the token is shown this once."""
        name = parse_mirror(request.match_info["mirror"])
        body = await read_body(request, InviteBody)
        channels = [parse_channel(channel) for channel in body.channels]
        issued = await self._joining.invite(name, channels, expires_in_s=body.expires_in_s, trace=trace_of(request))
        invitation = Invitation(
            url=self._urls().master, name=name, secret=issued.secret, expires_at_s=issued.expires_at_s
        )
        return answer({"token": write_invitation(invitation), "expires_at_s": issued.expires_at_s})

    async def remove(self, request: web.Request) -> web.Response:
        """Take a mirror out of the fleet."""
        name = parse_mirror(request.match_info["mirror"])
        await self._joining.remove(name, reason=request.query.get("reason", ""), trace=trace_of(request))
        return answer({"removed": name})

    async def edit(self, request: web.Request) -> web.Response:
        """Change what the site rules for a mirror."""
        name = parse_mirror(request.match_info["mirror"])
        body = await read_body(request, RuleBody)
        rule = await self._joining.edit(name, body.applied, trace=trace_of(request))
        return answer({"mirror": name, "rule": rule_json(rule)})

    async def rotate_keys(self, request: web.Request) -> web.Response:
        """Give a mirror a new grant key."""
        name = parse_mirror(request.match_info["mirror"])
        body = await read_body(request, RotateBody)
        keys = await self._joining.rotate_keys(name, cut=body.cut, trace=trace_of(request))
        return answer({"mirror": name, "key_epoch": keys.newest, "oldest_epoch": keys.oldest})

    async def subscribe(self, request: web.Request) -> web.Response:
        """Give a mirror leave to follow a channel."""
        name, channel = _pair(request)
        channels = await self._joining.subscribe(name, channel, trace=trace_of(request))
        return answer({"mirror": name, "channels": channels})

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Take leave away."""
        name, channel = _pair(request)
        channels = await self._joining.unsubscribe(name, channel, trace=trace_of(request))
        return answer({"mirror": name, "channels": channels})


class MemberRoutes:
    """What mirrors ask for themselves, with their own token; joining, with the invitation's secret."""

    def __init__(self, joining: Joining, channels: Channels, urls: Callable[[], Urls]) -> None:
        self._joining = joining
        self._channels = channels
        self._urls = urls

    async def join(self, request: web.Request) -> web.Response:
        """Take up an invitation."""
        body = await read_body(request, JoinBody)
        name = parse_mirror(body.name)
        profile = body.profile.profile()
        credentials = await self._joining.join(name, secret=body.secret, profile=profile, trace=trace_of(request))
        return answer({"credentials": _credentials_json(credentials, self._urls())})

    async def snapshot(self, request: web.Request) -> web.Response:
        """Give all of a channel, with the number of its last fact."""
        mirror = await asking(request, self._joining)
        channel = parse_channel(request.match_info["channel"])
        if channel not in await self._joining.subscriptions(mirror.name):
            raise ForbiddenError("not_subscribed", f"{mirror.name} has no leave to follow {channel}")
        snapshot = await self._channels.snapshot(channel)
        return answer(
            {
                "channel": channel,
                "epoch": snapshot.epoch,
                "channel_sequence": snapshot.channel_sequence,
                "files": [
                    {
                        "path": entry.file.path,
                        "generation": entry.file.generation,
                        "size_bytes": entry.file.size_bytes,
                        "sha256": entry.file.sha256.hex(),
                        "media_type": entry.file.media_type,
                        "channel_sequence": entry.channel_sequence,
                        "piece_bytes": entry.file.pieces.piece_bytes,
                        "piece_digests": entry.file.pieces.digests,
                        "published_at_ns": entry.file.published_at_ns,
                    }
                    for entry in snapshot.entries
                ],
            }
        )

    async def subscriptions(self, request: web.Request) -> web.Response:
        """Give the channels that the mirror may follow."""
        mirror = await asking(request, self._joining)
        return answer({"channels": await self._joining.subscriptions(mirror.name)})

    async def keys(self, request: web.Request) -> web.Response:
        """Give the mirror's grant keys that hold."""
        mirror = await asking(request, self._joining)
        return answer({"grant_keys": _keys_json(self._joining.grant_keys(mirror))})

    async def leave(self, request: web.Request) -> web.Response:
        """Take the mirror out of the fleet, as its operator wants."""
        mirror = await asking(request, self._joining)
        await self._joining.remove(mirror.name, reason="left by its operator", trace=trace_of(request))
        return answer({"removed": mirror.name})

    async def queue(self, request: web.Request) -> web.Response:
        """Put the mirror's queue right; ``healed`` tells that it is empty, so that snapshots must be read."""
        mirror = await asking(request, self._joining)
        found = await self._joining.heal_queue(mirror)
        return answer({"queue": mirror_queue(mirror.name), "healed": found is not Provisioned.KEPT})


async def asking(request: web.Request, joining: Joining) -> Mirror:
    """Give the mirror that asks.

    Raises:
        ApiError: 401, it shows no token.
        ForbiddenError: it shows nobody's.
    """
    return await joining.authenticate(bearer_of(request))


def _pair(request: web.Request) -> tuple[MirrorName, ChannelName]:
    return parse_mirror(request.match_info["mirror"]), parse_channel(request.match_info["channel"])


def _keys_json(keys: Mapping[int, bytes]) -> dict[str, str]:
    return {str(epoch): key.hex() for epoch, key in keys.items()}


def _credentials_json(credentials: Credentials, urls: Urls) -> dict[str, object]:
    return {
        "mirror": credentials.mirror,
        "broker_url": credentials.broker_url,
        "token": credentials.token,
        "grant_keys": _keys_json(credentials.grant_keys),
        "master_url": urls.master,
        "site_url": urls.site,
        "channels": credentials.channels,
    }
