"""Settings from their sources: typed, checked together, each with its origin. All problems are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from distributary.config.schema import (
    SECTIONS,
    ArchiveSection,
    BrokerSection,
    MasterSection,
    MirrorSection,
    Section,
    SelectorSection,
    SiteSection,
    read_human,
)
from distributary.config.sources import OTHER_VARIABLES, VARIABLE_PREFIX, Sources, Value, read_sources, variable_of
from distributary.errors import UsageError

DEFAULT_ORIGIN = "default"
OPTIONAL: Final = (ArchiveSection, MirrorSection)  # roles that not every site, or every machine, has
MISSPELT_RATIO: Final = 0.9  # a slip or two in names of 20 to 40 letters, half of which is our prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one configuration. ``archive`` and ``mirror`` are None where no such section is written.

    ``file`` is the file that was read, ``folder`` what its relative paths start from, ``origins`` tells for each
    (section, key) where its value was written.
    """

    file: Path | None
    folder: Path
    site: SiteSection
    broker: BrokerSection
    master: MasterSection
    selector: SelectorSection
    archive: ArchiveSection | None
    mirror: MirrorSection | None
    origins: Mapping[tuple[str, str], str]


class ConfigError(UsageError):
    """The configuration has problems; ``problems`` holds each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("config_invalid", "\n".join(problems))
        self.problems = tuple(problems)

    @property
    def details(self) -> Mapping[str, object]:
        """Give the problems one by one."""
        return {"problems": list(self.problems)}


def load(*, config: Path | None, overrides: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Settings:
    """Read, type and check all settings.

    Raises:
        ConfigError: with every problem that there is.
        UsageError: the file that was asked for cannot be read.
    """
    sources = read_sources(config=config, overrides=overrides, environ=environ, cwd=cwd, known=set(known_settings()))
    problems = [*sources.problems, *_unknown(sources), *_secrets_in_arguments(sources), *_misspelt(environ)]
    sections = {name: _section(name, sources, cwd, problems) for name in SECTIONS}
    if problems:
        raise ConfigError(problems)
    return _settings(sources, sections)


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    """Refuse variables under our prefix that are nearly one of ours; others may be another program's."""
    known = [*(variable_of(*place) for place in known_settings() if place[1]), *OTHER_VARIABLES]
    return [
        f"${name}: unknown; did you mean ${close[0]}?"
        for name in sorted(environ)
        if name.startswith(VARIABLE_PREFIX)
        and name not in known
        and (close := difflib.get_close_matches(name, known, n=1, cutoff=MISSPELT_RATIO))
    ]


def known_settings() -> dict[tuple[str, str], msgspec.structs.FieldInfo | None]:
    """Give every (section, key) with its field; a section's own place has the key ``""``."""
    places: dict[tuple[str, str], msgspec.structs.FieldInfo | None] = {}
    for name, section in SECTIONS.items():
        places[name, ""] = None
        places |= {(name, each.name): each for each in msgspec.structs.fields(section)}
    return places


def _settings(sources: Sources, sections: Mapping[str, Section | None]) -> Settings:
    return Settings(
        file=sources.file,
        folder=sources.folder,
        site=cast("SiteSection", sections["site"]),
        broker=cast("BrokerSection", sections["broker"]),
        master=cast("MasterSection", sections["master"]),
        selector=cast("SelectorSection", sections["selector"]),
        archive=cast("ArchiveSection | None", sections["archive"]),
        mirror=cast("MirrorSection | None", sections["mirror"]),
        origins={
            place: sources.values[place].origin if place in sources.values else DEFAULT_ORIGIN
            for place in known_settings()
            if place[1]
        },
    )


def _unknown(sources: Sources) -> list[str]:
    known = known_settings()
    unknown_sections = {section for section, key in sources.values if not key and section not in SECTIONS}
    problems: list[str] = []
    for (section, key), value in sources.values.items():
        if not key and section in unknown_sections:
            problems.append(f"{value.origin}: unknown section [{section}]{_did_you_mean(section, SECTIONS)}")
        elif section not in unknown_sections and (section, key) not in known:
            keys = [each for name, each in known if name == section and each] or list(SECTIONS)
            problems.append(f"{value.origin}: unknown key {section}.{key}{_did_you_mean(key, keys)}")
    return problems


def _did_you_mean(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def _secrets_in_arguments(sources: Sources) -> list[str]:
    """Refuse secrets among the arguments: every user of the machine can read them there."""
    return [
        f"{value.origin}: a secret does not belong on the command line; "
        f"set DISTRIBUTARY_{section.upper()}_{key.upper()} or write it to the file"
        for (section, key), value in sources.values.items()
        if value.origin.startswith("--set") and is_secret(section, key)
    ]


def is_secret(section: str, key: str) -> bool:
    """Tell whether a setting is never shown."""
    field = known_settings().get((section, key))
    return field is not None and "Secret" in str(field.type)


def _section(name: str, sources: Sources, cwd: Path, problems: list[str]) -> Section | None:
    """Type one section, adding its problems to the list. None where it is not configured or has problems."""
    kind = SECTIONS[name]
    mentioned = any(section == name for section, _ in sources.values)
    if kind in OPTIONAL and not mentioned:
        return None
    values: dict[str, Any] = {}
    before = len(problems)
    for field in msgspec.structs.fields(kind):
        written = sources.values.get((name, field.name))
        if written is not None:
            values[field.name] = _typed(name, field, written, sources.folder, cwd, problems)
        elif field.required:
            place = sources.values[name, ""].origin if (name, "") in sources.values else f"[{name}]"
            problems.append(f"{place}: {name}.{field.name} is missing")
    if len(problems) > before:
        return None
    made = kind(**values)
    return _anchored(made, sources.folder)


def _typed(
    section: str, field: msgspec.structs.FieldInfo, written: Value, folder: Path, cwd: Path, problems: list[str]
) -> object:
    from_file = not written.origin.startswith(("$", "--set"))
    raw = written.raw
    if not from_file and isinstance(raw, str) and "tuple" in str(field.type):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        # Text from the environment is read leniently ("8" is a number there); a file must say what it means.
        typed = msgspec.convert(raw, field.type, dec_hook=read_human, strict=from_file)
    except msgspec.ValidationError as error:
        problems.append(f"{written.origin}: {section}.{field.name}: {error}")
        return None
    return _joined_to(folder if from_file else cwd, typed)


def _joined_to(folder: Path, typed: object) -> object:
    """Let relative paths start from a folder; whatever else it is stays as it is."""
    if isinstance(typed, Path):
        return folder / typed
    if isinstance(typed, tuple):
        return tuple(_joined_to(folder, each) for each in cast("tuple[object, ...]", typed))
    return typed


def _anchored(section: Section, folder: Path) -> Section:
    """Let the defaults among the paths start from the configuration's folder, too."""
    relative = {
        each: folder / path
        for each in section.__struct_fields__
        if isinstance(path := getattr(section, each), Path) and not path.is_absolute()
    }
    return msgspec.structs.replace(section, **relative)
