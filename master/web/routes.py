"""All routes of the master in one table, and who may take which."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from edge.auth import bears, require_bearer
from edge.errors import Handler
from edge.health import Checks, add_health
from edge.localness import is_local
from edge.server import new_app
from master.web.channels import ChannelRoutes
from master.web.content import OriginRoutes
from master.web.fallback import FallbackRoutes
from master.web.files import FileRoutes
from master.web.holds import HoldRoutes
from master.web.mirrors import MemberRoutes, MirrorRoutes
from master.web.pieces import PiecesRoutes
from master.web.refusals import refusals
from master.web.revocations import RevocationRoutes
from master.web.status import StatusRoutes

API = "/-/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The parts of the interface."""

    files: FileRoutes
    holds: HoldRoutes
    channels: ChannelRoutes
    mirrors: MirrorRoutes
    revocations: RevocationRoutes
    members: MemberRoutes
    pieces: PiecesRoutes
    origin: OriginRoutes
    fallback: FallbackRoutes
    status: StatusRoutes


def build_app(routes: Routes, *, admin_token: str, checks: Checks) -> web.Application:
    """Put the interface together."""
    app = new_app()
    app.middlewares.append(refusals)
    add_health(app, checks, may_know=lambda request: is_local(request) or bears(request, admin_token))
    for method, path, handler in _for_administrators(routes):
        app.router.add_route(method, path, _guarded(handler, admin_token))
    for method, path, handler in _for_everybody(routes):
        app.router.add_route(method, path, handler)
    return app


def _for_administrators(routes: Routes) -> list[tuple[str, str, Handler]]:
    return [
        ("POST", f"{API}/files", routes.files.publish),
        ("GET", f"{API}/files", routes.files.list),
        ("DELETE", f"{API}/files", routes.files.withdraw),
        ("GET", f"{API}/holds", routes.holds.list),
        ("GET", f"{API}/holds/{{hold}}", routes.holds.get),
        ("POST", f"{API}/releases", routes.holds.release),
        ("GET", f"{API}/acknowledgements", routes.files.acknowledgements),
        ("GET", f"{API}/channels", routes.channels.list),
        ("GET", f"{API}/channels/{{channel}}", routes.channels.get),
        ("PUT", f"{API}/channels/{{channel}}", routes.channels.put),
        ("DELETE", f"{API}/channels/{{channel}}", routes.channels.remove),
        ("POST", f"{API}/channels/{{channel}}/test", routes.channels.test),
        ("GET", f"{API}/mirrors", routes.mirrors.list),
        ("PATCH", f"{API}/mirrors/{{mirror}}", routes.mirrors.edit),
        ("DELETE", f"{API}/mirrors/{{mirror}}", routes.mirrors.remove),
        ("POST", f"{API}/mirrors/{{mirror}}/invitation", routes.mirrors.invite),
        ("PUT", f"{API}/mirrors/{{mirror}}/subscriptions/{{channel}}", routes.mirrors.subscribe),
        ("DELETE", f"{API}/mirrors/{{mirror}}/subscriptions/{{channel}}", routes.mirrors.unsubscribe),
        ("POST", f"{API}/mirrors/{{mirror}}/keys", routes.mirrors.rotate_keys),
        ("GET", f"{API}/revocations", routes.revocations.list),
        ("POST", f"{API}/revocations", routes.revocations.revoke),
        ("GET", f"{API}/status", routes.status.get),
    ]


def _for_everybody(routes: Routes) -> list[tuple[str, str, Handler]]:
    """Give the routes whose handlers look at the asker's token, secret or grant themselves."""
    return [
        ("POST", f"{API}/join", routes.members.join),
        ("GET", f"{API}/channels/{{channel}}/snapshot", routes.members.snapshot),
        ("DELETE", f"{API}/mirrors/self", routes.members.leave),
        ("GET", f"{API}/mirrors/self/subscriptions", routes.members.subscriptions),
        ("GET", f"{API}/mirrors/self/keys", routes.members.keys),
        ("POST", f"{API}/mirrors/self/queue", routes.members.queue),
        ("POST", f"{API}/mirrors/self/pieces", routes.pieces.ask),
        ("GET", "/-/origin/{sha256}", routes.origin.get),
        ("HEAD", "/-/origin/{sha256}", routes.origin.get),
        ("GET", "/d/{token}/{name}", routes.fallback.get),
        ("HEAD", "/d/{token}/{name}", routes.fallback.get),
    ]


def _guarded(handler: Handler, admin_token: str) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        require_bearer(request, admin_token)
        return await handler(request)

    return guarded
