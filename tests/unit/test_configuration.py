"""Settings: where they come from, and how their problems are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from distributary.config.load import ConfigError, Settings, known_settings, load
from distributary.config.schema import SECTIONS
from distributary.config.services.master import master_config
from distributary.config.services.mirror import mirror_config
from distributary.config.services.selector import selector_config
from distributary.errors import UsageError
from distributary.site_folder import SitePlan, write_site
from master.checksums import Checksum

CONFIGURATION_MD = Path(__file__).parents[2] / "docs" / "configuration.md"

Load = Callable[..., Settings]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load settings from a text, with what else a test wants to lay over it."""

    def load_it(text: str, *overrides: str, **environ: str) -> Settings:
        file = tmp_path / "distributary.toml"
        file.write_text(text)
        return load(config=file, overrides=overrides, environ=environ, cwd=tmp_path)

    return load_it


def test_unknown_key_is_refused_with_its_line_and_a_suggestion(load_text: Load) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text('# a comment\n\n[selector]\nname = "one"\nlitsen = "127.0.0.1:1"\n')
    (problem,) = refused.value.problems
    assert "distributary.toml:5: unknown key selector.litsen; did you mean 'listen'?" in problem


def test_all_problems_are_told_at_once(load_text: Load) -> None:
    text = """stray = 1
[site]
ulr = "x"
[selektor]
name = "x"
[master]
listen = "nowhere"
[mirror]
monthly = "50 GX"
"""
    with pytest.raises(ConfigError) as refused:
        load_text(text, "no-equals-sign", DISTRIBUTARY_MIRROR_SLOTS="many")
    told = "\n".join(refused.value.problems)
    for expected in (
        ":1: 'stray'", ":3: unknown key site.ulr", ":4: unknown section [selektor]", ":7: master.listen",
        ":9: mirror.monthly", "--set no-equals-sign", "$DISTRIBUTARY_MIRROR_SLOTS: mirror.slots",
    ):  # fmt: skip
        assert expected in told


def test_flag_beats_environment_beats_file_beats_default(load_text: Load) -> None:
    text = '[selector]\nname = "file"\nlisten = "127.0.0.1:1"\nnear_km = 5.0\n'
    settings = load_text(
        text, "selector.name=flag", DISTRIBUTARY_SELECTOR_NAME="env", DISTRIBUTARY_SELECTOR_LISTEN="127.0.0.1:2"
    )
    assert (settings.selector.name, settings.origins["selector", "name"]) == ("flag", "--set selector.name")
    assert settings.selector.listen.port == 2
    assert settings.origins["selector", "listen"] == "$DISTRIBUTARY_SELECTOR_LISTEN"
    assert settings.selector.near_km == 5
    assert settings.origins["selector", "near_km"].endswith("distributary.toml:4")
    assert settings.origins["selector", "silent_after"] == "default"


def test_amqp_url_has_a_short_variable(load_text: Load) -> None:
    assert load_text("", DISTRIBUTARY_AMQP_URL="amqp://broker/").broker.url == "amqp://broker/"


def test_secret_is_refused_among_the_arguments(load_text: Load) -> None:
    with pytest.raises(ConfigError, match="does not belong on the command line"):
        load_text("", "broker.url=amqp://a:b@c/")


def test_paths_start_from_the_files_folder_and_sizes_are_human(load_text: Load, tmp_path: Path) -> None:
    settings = load_text('[mirror]\ndata_dir = "copies"\nmonthly = "50GB"\nreport_every = "500ms"\n')
    assert settings.mirror is not None
    assert settings.mirror.data_dir == tmp_path / "copies"
    assert settings.mirror.credentials_file == tmp_path / "credentials.json"
    assert settings.mirror.monthly == 50_000_000_000
    assert settings.mirror.report_every == 0.5


def test_list_in_the_environment_is_separated_by_commas(load_text: Load) -> None:
    settings = load_text("", DISTRIBUTARY_SELECTOR_TRUSTED_PROXIES="127.0.0.1/32, ::1/128")
    assert settings.selector.trusted_proxies == ("127.0.0.1/32", "::1/128")


def test_broken_toml_is_told_with_its_line(load_text: Load) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        load_text("[site]\nurl = \n")


def test_file_is_found_by_flag_then_variable_then_folder(tmp_path: Path) -> None:
    for name in ("flag", "variable"):
        (tmp_path / f"{name}.toml").write_text(f'[selector]\nname = "{name}"\n')
    (tmp_path / "distributary.toml").write_text('[selector]\nname = "folder"\n')

    def name_in_force(config: Path | None, environ: dict[str, str]) -> str:
        return load(config=config, overrides=(), environ=environ, cwd=tmp_path).selector.name

    variable = {"DISTRIBUTARY_CONFIG": "variable.toml"}
    assert name_in_force(Path("flag.toml"), variable) == "flag"
    assert name_in_force(None, variable) == "variable"
    assert name_in_force(None, {}) == "folder"
    assert name_in_force(tmp_path, {}) == "folder"


def test_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml"):
        load(config=tmp_path / "absent.toml", overrides=(), environ={}, cwd=tmp_path)


def test_new_sites_folder_configures_master_and_selector(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan(broker_url="amqp://u:p@broker:5672/v", master_listen="127.0.0.1:0"))
    settings = load(config=tmp_path, overrides=(), environ={}, cwd=tmp_path)
    master, selector = master_config(settings), selector_config(settings)
    assert master.secret == selector.secret
    assert len(master.secret) == 32
    assert master.broker.vhost == "v"
    assert (master.listen_port, master.data_folder) == (0, tmp_path / "master")
    assert master.checksums == frozenset()
    more = load(config=tmp_path, overrides=("master.digests=md5,sha1",), environ={}, cwd=tmp_path)
    assert master_config(more).checksums == frozenset(Checksum)


def test_mirrors_share_the_sites_broker_user_only_where_somebody_wrote_so(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan())
    file = tmp_path / "distributary.toml"
    assert not master_config(load(config=file, overrides=(), environ={}, cwd=tmp_path)).shared_broker_user
    file.write_text(file.read_text().replace("# shared_user = true", "shared_user = true"))
    assert master_config(load(config=file, overrides=(), environ={}, cwd=tmp_path)).shared_broker_user


def test_missing_secret_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    settings = load(config=None, overrides=(), environ={}, cwd=tmp_path)
    with pytest.raises(UsageError, match=r"site\.secret") as refused:
        master_config(settings)
    assert "distributary init" in refused.value.hint


def test_mirror_without_a_section_is_told_how_to_join(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        mirror_config(load(config=None, overrides=(), environ={}, cwd=tmp_path))
    assert "mirror join" in refused.value.hint


@pytest.fixture
def joined(tmp_path: Path) -> None:
    """Credentials as `mirror join` writes them."""
    credentials = {
        "mirror": "ana", "broker_url": "amqp://b/", "token": "t", "grant_keys": {"1": "00" * 32},
        "master_url": "http://m", "site_url": "http://s", "channels": ["iso"],
    }  # fmt: skip
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))


@pytest.mark.usefixtures("joined")
def test_a_mirror_takes_whom_its_section_names_and_is_reached_by_its_families(load_text: Load) -> None:
    config = mirror_config(
        load_text(
            '[mirror]\ncountries_only = ["DE", "AT"]\nnetworks_only = ["192.0.2.0/24"]\n'
            'networks = ["192.0.2.0/25"]\nasn = 64500\nfamilies = ["ipv6"]\n'
        )
    )
    profile = config.profile("http://ana.example")
    assert (profile.reach.countries_only, profile.reach.networks_only) == (("DE", "AT"), ("192.0.2.0/24",))
    assert (profile.networks, profile.asn) == (("192.0.2.0/25",), 64500)
    assert (profile.ipv4, profile.ipv6) == (False, True)


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize(
    "setting",
    ['countries_only = ["de"]', 'continents_only = ["XX"]', 'networks_only = ["192.0.2.1/24"]', 'networks = ["x"]'],
)
def test_whom_a_mirror_cannot_take_is_told_with_its_line(load_text: Load, tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        mirror_config(load_text(f"[mirror]\n{setting}\n"))
    (problem,) = refused.value.problems
    assert problem.startswith(f"{tmp_path / 'distributary.toml'}:2: mirror.{setting.partition(' ')[0]}: ")


@pytest.mark.usefixtures("joined")
def test_mirror_is_told_plain_numbers_since_they_go_into_events(load_text: Load) -> None:
    config = mirror_config(load_text('[mirror]\nmonthly = "50GB"\ndisk = "1GB"\nreport_every = "1s"\n'))
    assert [type(config.monthly_bytes), type(config.disk_bytes_max), type(config.report_every_s)] == [int, int, float]
    assert config.credentials.grant_keys == {1: bytes(32)}


@pytest.mark.parametrize(
    "content", ["", "{}", '{"mirror": 1}', "[]", "\x00"], ids=["empty", "no fields", "wrong type", "a list", "binary"]
)
def test_damaged_credentials_are_told_as_such(load_text: Load, tmp_path: Path, content: str) -> None:
    (tmp_path / "credentials.json").write_text(content)
    with pytest.raises(UsageError, match=r"credentials\.json"):
        mirror_config(load_text("[mirror]\n"))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: str) -> None:
    chapter = CONFIGURATION_MD.read_text().split(f"## [{section}]")[1].split("\n## ")[0]
    documented = {line.split("`")[1] for line in chapter.splitlines() if line.startswith("| `")}
    assert documented == {field.name for field in msgspec.structs.fields(SECTIONS[section])}


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = [f"{section}_{key}".upper() for section, key in known_settings() if key]
    assert len(names) == len(set(names))


def test_what_a_service_finds_wrong_is_told_by_the_settings_own_name_and_place(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan())
    file = tmp_path / "distributary.toml"
    file.write_text(file.read_text() + 'near_km = -1.0\nload_threshold = 7.0\nsilent_after = "0s"\n')
    settings = load(config=file, overrides=("site.url=nowhere",), environ={}, cwd=tmp_path)
    with pytest.raises(ConfigError) as refused:
        selector_config(settings)
    told = refused.value.problems
    last = len(file.read_text().splitlines())
    assert any(each.startswith("--set site.url: site.url: ") for each in told)
    assert f"{file}:{last}: selector.silent_after: must be above 0" in told
    assert f"{file}:{last - 1}: selector.load_threshold: must be above 0 and at most 1" in told
    assert f"{file}:{last - 2}: selector.near_km: must not be negative" in told
    assert refused.value.hint == ""


def test_misspelt_variable_is_refused_with_a_suggestion(load_text: Load) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text("", DISTRIBUTARY_SELECTOR_LITSEN="127.0.0.1:1", DISTRIBUTARY_AQMP_URL="amqp://broker/")
    assert refused.value.problems == (
        "$DISTRIBUTARY_AQMP_URL: unknown; did you mean $DISTRIBUTARY_AMQP_URL?",
        "$DISTRIBUTARY_SELECTOR_LITSEN: unknown; did you mean $DISTRIBUTARY_SELECTOR_LISTEN?",
    )


def test_variable_of_another_program_under_our_prefix_is_left_alone(load_text: Load) -> None:
    load_text("", DISTRIBUTARY_FAULT_SEED="7", DISTRIBUTARY_TEST_BROKER="node", DISTRIBUTARY_RABBITMQ_IMAGE="x")
    load_text("", DISTRIBUTARY_BROKER_PASSWORD="x", DISTRIBUTARY_IMAGE="x", DISTRIBUTARY_POSTGRES_IMAGE="x")


def test_list_of_files_starts_from_the_folder_of_whoever_names_it(load_text: Load, tmp_path: Path) -> None:
    written = load_text('[selector]\ngeoip_files = ["city.mmdb", "/var/asn.mmdb"]\n')
    assert written.selector.geoip_files == (tmp_path / "city.mmdb", Path("/var/asn.mmdb"))
    named = load_text("", DISTRIBUTARY_SELECTOR_GEOIP_FILES="city.mmdb,/var/asn.mmdb")
    assert named.selector.geoip_files == (tmp_path / "city.mmdb", Path("/var/asn.mmdb"))


def test_site_without_a_ticket_secret_has_none_and_a_named_one_must_be_there(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan())
    settings = load(config=tmp_path, overrides=(), environ={}, cwd=tmp_path)
    assert selector_config(settings).ticket_key == bytes.fromhex((tmp_path / "ticket.secret").read_text())
    (tmp_path / "ticket.secret").unlink()
    with pytest.raises(UsageError, match=r"ticket\.secret"):
        selector_config(settings)
    text = (tmp_path / "distributary.toml").read_text().replace('ticket_secret_file = "ticket.secret"', "")
    (tmp_path / "distributary.toml").write_text(text)
    unnamed = load(config=tmp_path, overrides=(), environ={}, cwd=tmp_path)
    assert selector_config(unnamed).ticket_key is None
