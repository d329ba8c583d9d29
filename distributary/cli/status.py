"""``distributary status``: how the site fares, and why. With ``--check`` for monitors."""

from __future__ import annotations

from typing import Final

import click

from distributary.answers import inside, objects, text
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.output import Output
from distributary.cli.shortfall import held_of_wanted, reason_sentence, shortfalls
from distributary.client import Api, JsonObject
from distributary.errors import CommandError
from distributary.exits import ExitCode

# As its operator or the site wants it: nothing is to be mended.
RESTING: Final = frozenset({"paused", "closed", "draining", "disabled"})
UNTOLD: Final = "not ok; why is told on its own machine, and in its log"


@click.command(cls=Command, name="status")
@click.option("--check", is_flag=True, help="Exit 7 where something is degraded, 5 where nothing answers.")
def command(*, check: bool) -> ExitCode:
    """Show how master, selector, archiver and mirrors fare, each with its reason."""
    invocation = current()
    roles = {"master": _role(invocation.master()), "selector": _role(invocation.selector())}
    if invocation.settings.archive is not None:
        roles["archiver"] = _role(invocation.archiver())
    (mirrors, mirrors_error), (files, _) = (_list(invocation.selector(), name) for name in ("mirrors", "files"))
    degraded = [*_problems(roles, mirrors), *shortfalls(files, mirrors)]
    content: JsonObject = {"roles": roles, "mirrors": mirrors, "degraded": degraded}
    if invocation.output.json:
        invocation.output.snapshot("status", content)
    else:
        _print(invocation.output, roles, mirrors, mirrors_error, degraded)
    return _exit_code(roles, degraded, check=check)


def _role(api: Api) -> JsonObject:
    """Ask one role how it fares. One that does not answer is a finding, not an error."""
    try:
        readiness = api.readiness()
        state = "ready" if readiness.get("ready") else "waiting"
        return {"state": state, "url": api.url, **readiness, "status": api.get("/-/api/v1/status")}
    except CommandError as error:
        return {"state": "offline", "url": api.url, "ready": False, "reason": error.message}


def _list(selector: Api, name: str) -> tuple[list[JsonObject], str]:
    """Ask for a list; give it, or why there is none."""
    try:
        return objects(selector.get(f"/-/api/v1/{name}"), name), ""
    except CommandError as error:
        return [], error.message


def _problems(roles: dict[str, JsonObject], mirrors: list[JsonObject]) -> list[str]:
    """Name everything that is not as it should be, one sentence each."""
    problems: list[str] = []
    for role, state in roles.items():
        if text(state, "reason"):
            problems.append(f"{role}: {text(state, 'reason')}")
        problems += [
            f"{role}: {text(check, 'name')}: {text(check, 'detail') or UNTOLD}"
            for check in objects(state, "checks")
            if not check.get("ok")
        ]
    return problems + [
        f"mirror {text(each, 'mirror')}: {reason_sentence(each)}"
        for each in mirrors
        if text(each, "reason") and text(each, "state") not in RESTING
    ]


def _exit_code(roles: dict[str, JsonObject], degraded: list[str], *, check: bool) -> ExitCode:
    if all(state["state"] == "offline" for state in roles.values()):
        return ExitCode.UNAVAILABLE
    return ExitCode.DEGRADED if check and degraded else ExitCode.OK


def _print(
    output: Output, roles: dict[str, JsonObject], mirrors: list[JsonObject], mirrors_error: str, degraded: list[str]
) -> None:
    rows = [(role, text(state, "state"), text(state, "url"), _numbers(state)) for role, state in roles.items()]
    output.table(("role", "state", "address", "counts"), rows)
    output.text()
    if mirrors:
        mirror_rows = [
            (text(each, "mirror"), text(each, "state"), reason_sentence(each) or "-", held_of_wanted(each) or "-")
            for each in mirrors
        ]
        output.table(("mirror", "state", "reason", "copies"), mirror_rows, right=("copies",))
    else:
        output.text(mirrors_error or "no mirrors yet: distributary mirror invite NAME -c CHANNEL")
    for problem in degraded:
        output.note(f"degraded: {problem}", style="yellow")


def _numbers(state: JsonObject) -> str:
    status = inside(state, "status")
    counted = {key: value for key, value in status.items() if isinstance(value, int) and not isinstance(value, bool)}
    return ", ".join(f"{key} {value}" for key, value in counted.items())
