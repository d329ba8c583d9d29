"""Since when each content is wanted, and which ones had to make room for others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from events.names import Digest
from mirror.state.plan import Catalogue


@dataclass(frozen=True, slots=True)
class Want:
    """``since_s``: when the mirror was told of the content. ``evicted``: it was held, and had to go."""

    since_s: int
    evicted: bool = False


NOT_WANTED = Want(since_s=0)


class Wants:
    """All contents that some live entry refers to."""

    def __init__(self) -> None:
        self._wants: dict[Digest, Want] = {}
        self._evicted: set[Digest] = set()

    def of(self, sha256: Digest) -> Want:
        """Give what is known of a content."""
        return self._wants.get(sha256, NOT_WANTED)

    @property
    def evicted(self) -> Iterator[Digest]:
        """The contents that had to make room and did not come back."""
        return iter(self._evicted)

    def changes(
        self, catalogue: Catalogue, touched: Iterable[Digest], *, now_s: int
    ) -> tuple[dict[Digest, Want], set[Digest]]:
        """Give what is wanted for the first time, and what is wanted no more."""
        fresh: dict[Digest, Want] = {}
        gone: set[Digest] = set()
        for sha256 in touched:
            is_wanted = catalogue.wanted(sha256) is not None
            if is_wanted and sha256 not in self._wants:
                fresh[sha256] = Want(now_s)
            elif not is_wanted and sha256 in self._wants:
                gone.add(sha256)
        return fresh, gone

    def note(self, wants: Mapping[Digest, Want]) -> None:
        """Take over what is known of these contents now."""
        for sha256, want in wants.items():
            self._wants[sha256] = want
            (self._evicted.add if want.evicted else self._evicted.discard)(sha256)

    def drop(self, sha256s: Iterable[Digest]) -> None:
        """Forget contents that nobody wants any more."""
        for sha256 in sha256s:
            self._wants.pop(sha256, None)
            self._evicted.discard(sha256)

    def marked(self, sha256s: Iterable[Digest], *, evicted: bool) -> dict[Digest, Want]:
        """Give what is known of those of these contents whose mark is to change, with the new one."""
        known = {sha256: self._wants[sha256] for sha256 in sha256s if sha256 in self._wants}
        return {sha256: replace(want, evicted=evicted) for sha256, want in known.items() if want.evicted != evicted}
