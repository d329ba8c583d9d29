"""What the demo tells, to people or as NDJSON: each step as it happens."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributary.answers import number, text, words
from distributary.cli.output import Output
from distributary.cli.printable import printable
from distributary.client import JsonObject
from distributary.demo.download import Download, file_url, shortened
from distributary.exits import ExitCode
from distributary.units import format_size


@dataclass(frozen=True, slots=True)
class Story:
    """Tells the steps of a demo through an output."""

    output: Output

    def step(self, name: str, sentence: str, **fields: object) -> None:
        """Tell one step."""
        if self.output.json:
            self.output.line({"type": name, **fields})
        else:
            self.output.note(f"• {sentence}")

    def published(self, lines: Sequence[JsonObject]) -> None:
        """Tell what was published."""
        done = lines[-1]
        files = [each for each in lines if each.get("type") == "published"]
        size = format_size(sum(number(each, "size_bytes") for each in files))
        self.step("published", f"published {len(files)} files, {size}", files=files, refused=number(done, "refused"))
        for each in lines:
            if each.get("type") == "refused":
                self.output.note(f"  refused {printable(text(each, 'path'))}: {text(each, 'message')}", style="yellow")

    def matrix(self, files: Sequence[JsonObject], mirrors: Sequence[str], seconds: float) -> None:
        """Tell which mirror holds which file."""
        if self.output.json:
            self.output.line({"type": "copies", "files": list(files), "mirrors": list(mirrors), "seconds": seconds})
            return
        self.output.note(f"• every mirror holds every file, {seconds:.1f} s after the publish began\n")
        rows = [
            (
                text(each, "path"),
                format_size(number(each, "size_bytes")),
                *("ready" if name in words(each, "mirrors") else "-" for name in mirrors),
            )
            for each in files
        ]
        self.output.table(("file", "size", *mirrors), rows, right=("size",))

    def downloaded(self, result: Download, path: str, expected_sha256: str) -> ExitCode:
        """Tell how the download went; give the demo's exit code."""
        equal = result.sha256 == expected_sha256
        if self.output.json:
            hops = [{"url": shortened(hop.url), "status": hop.status} for hop in result.hops]
            self.output.line({
                "type": "download", "path": path, "tool": result.tool, "hops": hops, "size_bytes": result.size_bytes,
                "sha256": result.sha256, "expected_sha256": expected_sha256, "equal": equal,
            })  # fmt: skip
        else:
            self._print_download(result, path, expected_sha256, equal=equal)
        return ExitCode.OK if equal else ExitCode.VERIFICATION_FAILED

    def _print_download(self, result: Download, path: str, expected_sha256: str, *, equal: bool) -> None:
        self.output.text(f"\ndownload of {path} with {result.tool}:")
        for hop in result.hops:
            self.output.text(f"  {hop.status}  {shortened(hop.url)}")
        self.output.text(f"  {format_size(result.size_bytes)} from {result.server}")
        self.output.text(f"  sha256     {result.sha256}")
        self.output.text(f"  published  {expected_sha256}")
        verdict = "equal: these are the bytes that were published" if equal else "DIFFERENT: these are not the bytes"
        self.output.text(f"  {verdict}", style="green" if equal else "red")

    def next_steps(self, config: Path, site_url: str, path: str, *, command: str) -> None:
        """Tell what to try while the fleet stays up. ``command`` is what to type in place of ``distributary``."""
        name, here = shlex.quote(path.rpartition("/")[2]), f"--config {shlex.quote(str(config))}"
        commands = (
            f"curl -L -o {name} {shlex.quote(file_url(site_url, path))}",
            f"{command} where --ip 127.0.0.1 {here} -- {shlex.quote(path)}",
            f"{command} status {here}",
            f"{command} mirror ls {here}",
            f"{command} publish PATH {here}",
            f"{command} withdraw --reason test --yes {here} -- {shlex.quote(path)}",
        )
        if self.output.json:
            self.output.line({"type": "up", "site_url": site_url, "config": str(config), "try": list(commands)})
            return
        self.output.note("\nThe fleet stays up; Ctrl-C ends it and clears up. In another terminal:")
        for each in commands:
            self.output.note(f"  {each}")
