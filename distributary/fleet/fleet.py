"""The fleet: a master, a selector, mirrors that join by real invitations and perhaps an archiver, each a process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.ports import draw_ports
from distributary.answers import text, words
from distributary.client import Api, JsonObject, segment
from distributary.config.sources import FILE_NAME
from distributary.errors import CommandError
from distributary.fleet.broker import FleetBroker
from distributary.fleet.process import RoleCommand, RoleProcess, stop_all
from distributary.fleet.waiting import wait_until
from distributary.join import CONFIG_NAME, Offer, join, read_token
from distributary.site_folder import SitePlan, write_site

SETTLE_TIMEOUT_S: Final = 90.0  # from a role's start to its first place in the view; seconds are usual
INVITATION_S: Final = 3600
LOOPBACK: Final = "127.0.0.0/8,::1/128"  # where the other mirrors of a fleet on one machine are


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPlan:
    """A mirror that is to join."""

    name: str
    channels: tuple[str, ...]
    slots: int = 20
    monthly_bytes: int | None = None
    location: str | None = None
    country: str = ""


@dataclass(slots=True, kw_only=True)
class Fleet:
    """A site and its mirrors in one folder. ``with Fleet(...) as fleet:`` starts the site, stops everything at the end.

    ``master_overrides``, ``selector_overrides`` and ``mirror_overrides`` are settings (``selector.geoip_files=…``) for
    these roles. ``archives``: the log is kept in a database, too.
    """

    folder: Path
    broker: FleetBroker
    archives: bool = False
    master_overrides: tuple[str, ...] = ()
    selector_overrides: tuple[str, ...] = ()
    mirror_overrides: tuple[str, ...] = ()
    master: RoleProcess = field(init=False)
    selector: RoleProcess = field(init=False)
    archiver: RoleProcess | None = field(init=False)
    mirrors: dict[str, RoleProcess] = field(default_factory=dict[str, RoleProcess], init=False)

    def __post_init__(self) -> None:
        """Write the site's folder; nothing is started yet."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        master_port, selector_port, archiver_port = draw_ports(3)
        plan = SitePlan(
            site_url=f"http://127.0.0.1:{selector_port}",
            master_url=f"http://127.0.0.1:{master_port}",
            broker_url=self.broker.amqp_url,
            management_url=self.broker.management_url,
            master_listen=f"127.0.0.1:{master_port}",
            selector_listen=f"127.0.0.1:{selector_port}",
            archive_listen=f"127.0.0.1:{archiver_port}" if self.archives else None,
        )
        write_site(self.folder, plan)
        self.master = self._process("master", "master", self.config, self.master_overrides)
        self.selector = self._process("selector", "selector", self.config, self.selector_overrides)
        self.archiver = self._process("archiver", "archiver", self.config) if self.archives else None

    @property
    def config(self) -> Path:
        """The site's configuration."""
        return self.folder / FILE_NAME

    @property
    def site_url(self) -> str:
        """The site's public address."""
        return self.selector.url

    @property
    def master_api(self) -> Api:
        """The master's interface, as administrator."""
        token = (self.folder / "admin.token").read_text().strip()
        return Api(self.master.url, role="master", token=token)

    @property
    def selector_api(self) -> Api:
        """The selector's interface."""
        return Api(self.selector.url, role="selector")

    def __enter__(self) -> Self:
        """Start the site; when that fails, stop what runs."""
        try:
            self.start_site()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    @property
    def site(self) -> list[RoleProcess]:
        """The site's own processes."""
        return [self.master, self.selector, *([] if self.archiver is None else [self.archiver])]

    def start_site(self) -> None:
        """Start the site's processes, together, and wait until all are ready."""
        for process in self.site:
            process.start()
        for process in self.site:
            process.wait_ready()

    def stop(self) -> None:
        """Stop everything that runs; mirrors first, so that they can say that they leave."""
        stop_all(list(self.mirrors.values()))
        stop_all(self.site[::-1])

    def define_channel(self, channel: str, rules: JsonObject | None = None) -> None:
        """Create a channel, or replace its filter."""
        body = {"filter": rules or {}, "description": ""}
        self.master_api.put(f"/-/api/v1/channels/{segment(channel)}", body)

    def join(self, *plans: MirrorPlan) -> None:
        """Invite mirrors, let them join and start them, together; wait until each is ready."""
        for plan in plans:
            self.mirrors[plan.name] = self.joined(plan)
            self.mirrors[plan.name].start()
        for plan in plans:
            self.mirrors[plan.name].wait_ready()

    def joined(self, plan: MirrorPlan) -> RoleProcess:
        """Invite a mirror and let it join; give its process, which is not started."""
        body = {"channels": list(plan.channels), "expires_in_s": INVITATION_S}
        answer = self.master_api.post(f"/-/api/v1/mirrors/{segment(plan.name)}/invitation", body)
        (port,) = draw_ports(1)
        folder = self.folder / "mirrors" / plan.name
        offer = Offer(
            url=f"http://127.0.0.1:{port}",
            listen=f"127.0.0.1:{port}",
            slots=plan.slots,
            monthly_bytes=plan.monthly_bytes,
            location=plan.location,
            country=plan.country,
        )
        join(read_token(text(answer, "token")), offer, folder)
        overrides = (f"mirror.private_addresses={LOOPBACK}", *self.mirror_overrides)
        return self._process(plan.name, "mirror", folder / CONFIG_NAME, overrides)

    def publish(self, source: Path, **options: object) -> list[JsonObject]:
        """Publish a file or tree; give all lines of the answer. ``as_`` names it in the catalogue."""
        request: JsonObject = {
            "source": str(source.resolve()), "as": None, "tags": [], "channels": None, "networks": [],
            "media_type": None, "dry_run": False, **{name.rstrip("_"): value for name, value in options.items()},
        }  # fmt: skip
        lines = list(self.master_api.stream("/-/api/v1/files", request))
        if not lines or lines[-1].get("type") != "done":
            raise CommandError("publish_incomplete", f"the master stopped before {source} was done")
        return lines

    def files(self) -> list[JsonObject]:
        """List the files as the selector sees them."""
        return self.selector_api.get_all("/-/api/v1/files", "files")

    def wait_copies(self, paths: Sequence[str], mirrors: Sequence[str], *, within_s: float = SETTLE_TIMEOUT_S) -> None:
        """Wait until each mirror holds each file, as the selector sees it."""
        wait_until(
            lambda: set(paths) <= self.held_by_all(mirrors),
            within_s=within_s,
            what=f"{', '.join(mirrors)} hold {', '.join(paths)}",
        )

    def held_by_all(self, mirrors: Iterable[str]) -> set[str]:
        """Give the paths of the files that all these mirrors hold."""
        wanted = set(mirrors)
        return {text(each, "path") for each in self.files() if wanted <= set(words(each, "mirrors"))}

    def where(self, path: str, ip: str) -> JsonObject:
        """Ask which mirror a visitor would get, and why not the others."""
        return self.selector_api.get("/-/api/v1/where", {"path": path, "ip": ip})

    def _process(self, name: str, role: str, config: Path, overrides: tuple[str, ...] = ()) -> RoleProcess:
        log_file = self.folder / "logs" / f"{name}.log"
        return RoleProcess(RoleCommand(name=name, role=role, config=config, log_file=log_file, overrides=overrides))
