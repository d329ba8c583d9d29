"""A broker for a fleet on this machine: by URL, else by Docker, else a private node of Debian's package."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.config import without_password
from broker.node import NodeMissingError, PrivateNode
from broker.site import BrokerSite, SiteError
from distributary.errors import UnavailableError, UsageError
from distributary.fleet.waiting import wait_until

AMQP_VARIABLE: Final = "DISTRIBUTARY_AMQP_URL"
MANAGEMENT_VARIABLE: Final = "DISTRIBUTARY_MANAGEMENT_URL"
IMAGE_VARIABLE: Final = "DISTRIBUTARY_RABBITMQ_IMAGE"
IMAGE_DEFAULT: Final = "distributary/rabbitmq:3.10"  # as `make image` makes it; nothing is pulled
DOCKER_ASK_TIMEOUT_S: Final = 10.0  # an engine that hangs counts as none
DOCKER_RUN_TIMEOUT_S: Final = 60.0
CONTAINER_READY_TIMEOUT_S: Final = 120.0  # a node boots in 7 to 22 s


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBroker:
    """Where the fleet's broker is."""

    amqp_url: str
    management_url: str
    origin: str


def open_broker(environ: Mapping[str, str], folder: Path) -> AbstractContextManager[FleetBroker]:
    """Give a broker with nothing of ours in it, and clear up when the block is left.

    A broker by URL gives a virtual host that is made for this once. Without its management API none can be made, and
    the one in the URL is not taken: a fleet would mix with what is there, and nobody could clear up after it.

    Raises:
        UnavailableError: there is none to be had; the message says how to get one.
        UsageError: a broker is given without its management API.
    """
    url = environ.get(AMQP_VARIABLE)
    if url:
        return _by_url(url, _management_url(environ))
    image = environ.get(IMAGE_VARIABLE) or IMAGE_DEFAULT
    if _has_image(image):
        return _in_container(image)
    return _private_node(folder)


def _management_url(environ: Mapping[str, str]) -> str:
    url = environ.get(MANAGEMENT_VARIABLE)
    if not url:
        raise UsageError(
            "management_url_missing",
            f"{AMQP_VARIABLE} is set, {MANAGEMENT_VARIABLE} is not: without RabbitMQ's management API no virtual host "
            "can be made for this and removed afterwards",
            hint=f"set {MANAGEMENT_VARIABLE} like http://user:password@127.0.0.1:15672, or unset {AMQP_VARIABLE} for a "
            "private broker",
        )
    return url


@contextmanager
def _by_url(amqp_url: str, management_url: str) -> Generator[FleetBroker]:
    origin = f"the broker at {without_password(amqp_url)}"
    site = BrokerSite(amqp_url=amqp_url, management_url=management_url)
    name = f"fleet-{secrets.token_hex(4)}"
    try:
        vhost = site.create_vhost(name)
    except SiteError as error:
        raise UnavailableError(
            "broker_unreachable", f"{origin}: {error}", hint=f"are {AMQP_VARIABLE} and {MANAGEMENT_VARIABLE} right?"
        ) from error
    try:
        yield FleetBroker(
            amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin=f"{origin}, virtual host {name}"
        )
    finally:
        site.delete_vhost(name)


@contextmanager
def _private_node(folder: Path) -> Generator[FleetBroker]:
    node = PrivateNode(folder)
    try:
        node.start()
    except NodeMissingError as error:
        raise UnavailableError("broker_missing", str(error)) from error
    try:
        yield FleetBroker(
            amqp_url=node.amqp_url, management_url=node.management_url, origin="a private RabbitMQ node of this machine"
        )
    finally:
        # Its data is thrown away, so there is nothing that it could bring into good order first.
        node.kill()
        node.stop()


@contextmanager
def _in_container(image: str) -> Generator[FleetBroker]:
    name = f"distributary-{secrets.token_hex(4)}"
    ports = ("-p", "127.0.0.1::5672", "-p", "127.0.0.1::15672")
    started = _docker("run", "--detach", "--rm", "--name", name, *ports, image, timeout_s=DOCKER_RUN_TIMEOUT_S)
    if started is None:
        raise UnavailableError("broker_unreachable", f"the image {image} does not start", hint=f"docker run {image}")
    try:
        site = BrokerSite(
            amqp_url=f"amqp://guest:guest@{_published(name, 5672)}/",
            management_url=f"http://guest:guest@{_published(name, 15672)}",
        )
        wait_until(lambda: _answers(site), within_s=CONTAINER_READY_TIMEOUT_S, what=f"RabbitMQ in {image} is ready")
        yield FleetBroker(
            amqp_url=site.amqp_url, management_url=site.management_url, origin=f"RabbitMQ in Docker ({image})"
        )
    finally:
        _docker("rm", "--force", name, timeout_s=DOCKER_RUN_TIMEOUT_S)


def _has_image(image: str) -> bool:
    return _docker("image", "inspect", "--format", "{{.Id}}", image, timeout_s=DOCKER_ASK_TIMEOUT_S) is not None


def _published(container: str, port: int) -> str:
    """Give the host's address of a container's port."""
    answer = _docker("port", container, f"{port}/tcp", timeout_s=DOCKER_ASK_TIMEOUT_S)
    if not answer:
        raise UnavailableError("broker_unreachable", f"Docker does not publish port {port} of {container}")
    return answer.splitlines()[0].strip()


def _answers(site: BrokerSite) -> bool:
    try:
        site.node_name()
    except SiteError:
        return False
    return True


def _docker(*arguments: str, timeout_s: float) -> str | None:
    """Run docker; give what it printed, or None where there is no docker, no engine or an error."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the engine's own command
            [docker, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
