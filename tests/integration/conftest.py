"""A real RabbitMQ for the integration tests: one node a session, a fresh virtual host a test. And databases.

Where the broker comes from, in this order: ``DISTRIBUTARY_AMQP_URL`` with ``DISTRIBUTARY_MANAGEMENT_URL``; a container,
where a Docker engine answers and the image is on this machine (nothing is pulled); a private node of Debian's package.
``DISTRIBUTARY_TEST_BROKER`` set to ``url``, ``container`` or ``node`` leaves no choice. Without any broker the tests
fail where ``CI`` is set, or a broker was asked for, and are skipped elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import docker
import pytest
from docker.errors import DockerException
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from broker.node import SERVER, PrivateNode
from broker.site import BrokerSite, SiteError, Vhost
from master.store.engine import open_engine

# Named as .ci/make-rabbitmq-image makes it, and as compose.yaml wants it.
RABBITMQ_IMAGE = os.environ.get("DISTRIBUTARY_RABBITMQ_IMAGE", "distributary/rabbitmq:3.10")
AMQP_PORT, MANAGEMENT_PORT = 5672, 15672
DOCKER_HOST_DEFAULT = "unix:///var/run/docker.sock"
CONTAINER_READY_TIMEOUT_S = 90.0
POLL_EVERY_S = 0.2
POSTGRESQL_DEADLINE_S = 30.0


class Source(Enum):
    """Where the tests' broker may come from."""

    URL = "url"
    CONTAINER = "container"
    NODE = "node"


@pytest.fixture(scope="session")
def broker_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSite]:
    """A broker that all tests of the session share."""
    with _open(_source(), tmp_path_factory.mktemp("rabbitmq")) as site:
        yield site


@pytest.fixture
def vhost(broker_site: BrokerSite) -> Iterator[Vhost]:
    """A virtual host of this test's own."""
    name = f"test-{secrets.token_hex(6)}"
    yield broker_site.create_vhost(name)
    broker_site.delete_vhost(name)


@pytest.fixture
def node_package() -> None:
    """Debian's rabbitmq-server, for what only a node of our own can show."""
    if not SERVER.exists():
        _do_without(f"{SERVER} is not there: apt-get install rabbitmq-server", forced=False)


@pytest.fixture
def private_node(node_package: None, tmp_path: Path) -> Iterator[PrivateNode]:  # noqa: ARG001 - ordered, not used
    """A running node of this test's own, to be killed and started again."""
    node = PrivateNode(tmp_path / "node")
    try:
        node.start()
        yield node
    finally:
        node.kill()  # its data is thrown away, so an orderly end would only take time
        node.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a private PostgreSQL server, to be completed with a database's name."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries:
        lack = "Debian's package postgresql is not installed"
        pytest.fail(lack) if os.environ.get("CI") else pytest.skip(lack)
    with _postgresql(binaries[-1].parent) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: what a store promises holds on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database.sqlite3'}"
    server: str = request.getfixturevalue("postgresql")
    name = f"test_{secrets.token_hex(6)}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    return f"{server}/{name}"


def _source() -> Source:
    forced = os.environ.get("DISTRIBUTARY_TEST_BROKER")
    if forced:
        return Source(forced)
    if "DISTRIBUTARY_AMQP_URL" in os.environ:
        return Source.URL
    if not (lack := _lack_of_container()):
        return Source.CONTAINER
    if not SERVER.exists():
        _do_without(f"no DISTRIBUTARY_AMQP_URL; {lack}; {SERVER} is not there", forced=False)
    return Source.NODE


def _open(source: Source, folder: Path) -> AbstractContextManager[BrokerSite]:
    match source:
        case Source.URL:
            return nullcontext(_site_by_url())
        case Source.CONTAINER:
            return _container()
        case Source.NODE:
            return _node(folder)


def _site_by_url() -> BrokerSite:
    try:
        return BrokerSite(
            amqp_url=os.environ["DISTRIBUTARY_AMQP_URL"],
            management_url=os.environ["DISTRIBUTARY_MANAGEMENT_URL"],
        )
    except KeyError as missing:
        _do_without(f"{missing} is not set: the tests need both URLs", forced=True)


@contextmanager
def _node(folder: Path) -> Generator[BrokerSite, None, None]:
    node = PrivateNode(folder)
    try:
        node.start()
        yield node.site
    finally:
        node.kill()
        node.stop()


@contextmanager
def _container() -> Generator[BrokerSite, None, None]:
    if lack := _lack_of_container():
        _do_without(lack, forced=True)
    # Ryuk, the container that clears up after killed test runs, would have to be pulled.
    testcontainers_config.ryuk_disabled = True
    # Not testcontainers' RabbitMqContainer: it takes a second AMQP client, and a decorator that warns of its own end.
    container = DockerContainer(RABBITMQ_IMAGE).with_exposed_ports(AMQP_PORT, MANAGEMENT_PORT)
    with container:
        host = container.get_container_host_ip()
        site = BrokerSite(
            amqp_url=f"amqp://guest:guest@{host}:{container.get_exposed_port(AMQP_PORT)}/",
            management_url=f"http://guest:guest@{host}:{container.get_exposed_port(MANAGEMENT_PORT)}",
        )
        _wait_until_ready(site, container)
        yield site


def _wait_until_ready(site: BrokerSite, container: DockerContainer) -> None:
    deadline_s = time.monotonic() + CONTAINER_READY_TIMEOUT_S
    while True:
        try:
            site.node_name()
        except SiteError as error:
            if time.monotonic() > deadline_s:
                log = b"".join(container.get_logs()).decode(errors="replace")[-2000:]
                pytest.fail(f"{RABBITMQ_IMAGE} is not ready after {CONTAINER_READY_TIMEOUT_S:.0f} s: {error}\n{log}")
            time.sleep(POLL_EVERY_S)
        else:
            return


def _lack_of_container() -> str:
    """Tell what a container lacks here; empty when nothing."""
    try:
        _knock_at_engine()
        client = docker.from_env()
    except (OSError, DockerException) as error:
        return f"no Docker engine answers ({error})"
    try:
        client.images.get(RABBITMQ_IMAGE)
    except DockerException as error:
        return f"no image {RABBITMQ_IMAGE} ({error})"
    finally:
        client.close()
    return ""


def _knock_at_engine() -> None:
    """Fail as Docker's library would, but without the socket that it leaves open, which warns later, in any test."""
    scheme, _, path = os.environ.get("DOCKER_HOST", DOCKER_HOST_DEFAULT).partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(path)


def _do_without(reason: str, *, forced: bool) -> NoReturn:
    if forced or os.environ.get("CI"):
        pytest.fail(f"no RabbitMQ for the tests: {reason}", pytrace=False)
    pytest.skip(f"no RabbitMQ for the tests: {reason}")


@contextmanager
def _postgresql(binaries: Path) -> Generator[str]:
    """Run a server as a user without rights (it refuses root), in a folder and on a port of its own."""
    folder = Path(tempfile.mkdtemp(prefix="distributary-postgresql-"))
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    as_user: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, port = folder / "data", _free_port()
    try:
        subprocess.run(  # noqa: S603 - Debian's own
            [binaries / "initdb", "-D", data, "-U", "distributary", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, cwd=folder, **as_user,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(  # noqa: S603 - Debian's own
                [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"],
                stdout=log, stderr=log, cwd=folder, **as_user,
            )  # fmt: skip
        try:
            _wait_for_port(port, server)
            yield f"postgresql://distributary@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(POSTGRESQL_DEADLINE_S)
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for_port(port: int, server: subprocess.Popen[Any]) -> None:
    deadline_s = time.monotonic() + POSTGRESQL_DEADLINE_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            asyncio.run(_execute(f"postgresql://distributary@127.0.0.1:{port}", "SELECT 1"))
        except (OSError, DBAPIError):
            time.sleep(0.05)
        else:
            return
    pytest.fail("the private PostgreSQL does not start")


async def _execute(server: str, statement: str) -> None:
    engine = open_engine(f"{server}/postgres").execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()
