"""How roles are run: readiness, a clean stop by signal, and what becomes of failures."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.port import AccessRefusedError, ForeignLogError, ManagementRefusedError
from distributary.cli.app import root
from distributary.config.load import Settings, load
from distributary.errors import CommandError
from distributary.exits import ExitCode
from distributary.running import Role, Service, raise_descriptor_limit, run_until_signal
from distributary.serve import services_of
from distributary.site_folder import SitePlan, write_site

OnReady = Callable[[str], None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_signal_stops_every_service_in_good_order(number: signal.Signals) -> None:
    ended: list[str] = []
    ready: list[tuple[str, str]] = []

    async def run(name: str, on_ready: OnReady) -> None:
        on_ready(f"http://{name}")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    def announce(role: str, url: str) -> None:
        ready.append((role, url))
        if len(ready) == 2:
            os.kill(os.getpid(), number)

    services = (
        Service(Role.MASTER, lambda on_ready: run("m", on_ready)),
        Service(Role.SELECTOR, lambda on_ready: run("s", on_ready)),
    )
    await run_until_signal(services, announce)
    assert ready == [("master", "http://m"), ("selector", "http://s")]
    assert sorted(ended) == ["m", "s"]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        pytest.param(AccessRefusedError("wrong password"), ExitCode.REFUSED, id="the broker refuses"),
        pytest.param(OSError(98, "Address already in use"), ExitCode.UNAVAILABLE, id="the address is taken"),
        pytest.param(OSError(99, "Cannot assign requested address"), ExitCode.USAGE, id="the address is not ours"),
        pytest.param(PermissionError(13, "Permission denied"), ExitCode.USAGE, id="the port is for root"),
        pytest.param(PermissionError(13, "Permission denied", "/d"), ExitCode.USAGE, id="the folder is not ours"),
        pytest.param(ZeroDivisionError("a defect"), ExitCode.FAILED, id="a defect"),
        pytest.param(ExceptionGroup("", [AccessRefusedError("no")]), ExitCode.REFUSED, id="inside a group"),
    ],
)
async def test_failing_service_ends_the_others_with_its_exit_code(error: Exception, exit_code: ExitCode) -> None:
    ended = asyncio.Event()

    async def fail(_: OnReady) -> None:
        raise error

    async def go_on(_: OnReady) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(CommandError) as failed:
        await run_until_signal((Service(Role.MASTER, go_on), Service(Role.SELECTOR, fail)), lambda _role, _url: None)
    assert failed.value.exit_code == exit_code
    assert ended.is_set()


async def test_cancelling_from_outside_is_no_clean_stop() -> None:
    async def wait(_: OnReady) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(run_until_signal((Service(Role.MASTER, wait),), lambda _role, _url: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def told_of(error: Exception) -> CommandError:
    """Give what the operator is told when a master ends so."""

    async def fail(_: OnReady) -> None:
        raise error

    service = Service(Role.MASTER, fail, "broker.url (distributary.toml:14)")
    with pytest.raises(CommandError) as failed:
        await run_until_signal((service,), lambda _role, _url: None)
    return failed.value


async def test_folder_that_cannot_be_written_is_told_as_one() -> None:
    told = await told_of(PermissionError(13, "Permission denied", "/somewhere/master"))
    assert "/somewhere/master cannot be written" in told.message
    assert told.code == "folder_unwritable"
    assert "address" not in told.hint


async def test_refusal_of_the_broker_says_where_the_password_is_written() -> None:
    told = await told_of(AccessRefusedError("ACCESS_REFUSED"))
    assert "broker.url (distributary.toml:14)" in told.hint


async def test_refusal_of_the_management_api_names_its_own_url() -> None:
    told = await told_of(ManagementRefusedError("PUT /api/policies: Login failed"))
    assert "Login failed" in told.message
    assert told.exit_code == ExitCode.REFUSED
    assert "broker.management_url" in told.hint
    assert "broker.url" not in told.hint


async def test_who_finds_another_sites_log_is_told_where_his_virtual_host_is_written() -> None:
    told = await told_of(ForeignLogError("the virtual host '/' has the log of another site"))
    assert "'/' has the log of another site" in told.message
    assert (told.code, told.exit_code) == ("log_foreign", ExitCode.REFUSED)
    assert "a virtual host of its own (broker.url (distributary.toml:14))" in told.hint


@pytest.mark.parametrize("role", [Role.MASTER, Role.SELECTOR])
def test_service_knows_where_its_brokers_url_is_written(tmp_path: Path, role: Role) -> None:
    write_site(tmp_path, SitePlan())
    settings = load(config=tmp_path, overrides=(), environ={}, cwd=tmp_path)
    (service,) = services_of(role, settings)
    assert service.broker_from == f"broker.url ({tmp_path / 'distributary.toml'}:14)"


async def test_interrupt_counts_even_where_it_was_ignored_before() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def run(_: OnReady) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

        await asyncio.wait_for(run_until_signal((Service(Role.MASTER, run),), lambda _role, _url: None), 10)
    finally:
        signal.signal(signal.SIGINT, before)


def test_process_takes_the_descriptors_that_the_system_grants_it() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 1024 if hard == resource.RLIM_INFINITY else hard // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > few
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("role", ["mirror", "all"])
def test_who_sends_a_mirrors_files_can_be_said_when_it_is_started(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Settings] = []

    def serve(_role: Role, settings: Settings, _announce: object) -> None:
        served.append(settings)

    def quiet(**_how: object) -> None:
        """Leave the log of the tests as it is."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distributary.cli.serve.serve", serve)
    monkeypatch.setattr("distributary.cli.serve.configure", quiet)
    Path("distributary.toml").write_text('[mirror]\nserve = "builtin"\n')
    assert CliRunner().invoke(root, ["serve", role, "--serve", "external"]).exit_code == ExitCode.OK
    assert [each.mirror and each.mirror.serve for each in served] == ["external"]


def test_a_role_that_sends_no_files_is_not_told_who_sends_them() -> None:
    result = CliRunner().invoke(root, ["serve", "selector", "--serve", "external"])
    assert result.exit_code == ExitCode.USAGE
    assert "is a mirror's" in result.stderr
