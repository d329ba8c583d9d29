"""Where a visitor was sent at a moment in the past, and why: the decision that was recorded, made again with reasons.

Where he did not come then, or of some decisions only there is a record, it is the choice as it would have been: by the
log up to that moment and the figures that some selector recorded last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from broker.reading import read_envelope
from events.envelope import Envelope
from events.errors import LanguageError
from events.grants import GRANT_ID_BYTES, IPAddress, normalise
from events.names import FilePath, SelectorName
from events.schemas import Decision, DecisionOutcome, DecisionsRecorded, Seen, StandingRecorded, Whereabouts
from events.schemas.fields import NS_PER_S
from history.audit.records import Places
from history.entry import Entry, Position
from history.replay.replayer import Replayer, is_record
from history.sources.port import Dated, Source
from selection.answering import answers
from selection.answering.redirector import Explanation
from selection.places.place import Place
from selection.retracing.deciding import asked_by
from selection.retracing.retraced import Retraced
from selection.retracing.retracer import Retracer

RECORDED_WITHIN_S: Final = 3600.0  # who came longer before the moment in question did not come then
# A record comes a tenth of a second after its decisions, after an outage of the broker some seconds after that.
RECORDS_LATE_S: Final = 120.0
STANDING_WITHIN_S: Final = 300.0  # a selector that decides anything says each minute how all mirrors stand
PLACES_MAX: Final = 100_000  # entries between what a selector had read and its record
_NO_GRANT: Final = bytes(GRANT_ID_BYTES)


class PastUnknownError(Exception):
    """Nothing can be told of that moment. The message says why."""


class How(Enum):
    """How a choice of the past is known."""

    RECORDED = "recorded"
    WORKED_OUT = "worked out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Who, what and when. ``place_of`` tells where an address is, as far as that is known today."""

    path: FilePath
    address: IPAddress
    at_ns: int
    place_of: Callable[[IPAddress], Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A choice of the past.

    Attributes:
        how: whether it is that of a recorded decision.
        selector: whose record, or figures.
        decision: the record, or what would have been asked.
        seen: up to where the log was read for it.
        retraced: what comes of it when it is made again.
        explained: it, with the reason for each mirror.
    """

    how: How
    selector: SelectorName
    decision: Decision
    seen: Position | None
    retraced: Retraced
    explained: Explanation

    def told(self) -> dict[str, object]:
        """Give it as ``/-/api/v1/where`` gives a choice of now, and ``then``: how it is known."""
        choice = answers.explanation(self.explained, names_networks=True)
        is_recorded = self.how is How.RECORDED
        then: dict[str, object] = {
            "how": self.how.value,
            "selector": self.selector,
            "at_ns": self.decision.at_ns,
            "seen": None if self.seen is None else {"generation": self.seen.generation, "offset": self.seen.offset},
            "outcome": self.decision.outcome.value if is_recorded else None,
            "mirror": self.decision.mirror if is_recorded else None,
            "verdict": self.retraced.verdict.value if is_recorded else None,
            "why_not": self.retraced.why_not if is_recorded else "",
        }
        return {**msgspec.to_builtins(choice), "then": then}


async def past(source: Source, question: Question) -> Past:
    """Find the choice for a visitor at a moment. It reads the log up to there twice.

    Raises:
        PastUnknownError: nothing was published there then, or no selector recorded anything before.
        SourceError: the log cannot be read.
    """
    chain = await _find(source, question)
    if chain is None:
        raise PastUnknownError("no selector had recorded how mirrors stood before that moment")
    return await _Retelling(source.vhost, question, chain).tell(source)


class _Step(NamedTuple):
    """One thing that a selector recorded, and where the log was read up to then."""

    told: StandingRecorded | Decision
    place: Position
    at_ns: int


@dataclass(slots=True)
class _Chain:
    """What one run of a selector recorded since it last said how all mirrors stood."""

    selector: SelectorName
    steps: list[_Step] = field(default_factory=list[_Step])
    is_recorded: bool = False

    @property
    def at_ns(self) -> int:
        """Tell when it recorded the last of them."""
        return self.steps[-1].at_ns


class _Search:
    """Goes through records for the one in question, and keeps what is needed to make it again."""

    def __init__(self, question: Question, *, vhost: str) -> None:
        self._question = question
        self._vhost = vhost
        self._places = Places()
        self._read: deque[Entry] = deque()
        self._chains: dict[tuple[str, int], _Chain] = {}
        self._recorded: _Chain | None = None
        self._last: _Chain | None = None

    def found(self) -> _Chain | None:
        """Give the records up to the decision in question, or to the last one before the moment."""
        return self._recorded or self._last

    def read(self, entry: Entry) -> bool:
        """Take the next entry; tell whether there may be more of interest behind it."""
        self._places.add(entry)
        self._read.append(entry._replace(body=b""))
        if len(self._read) > PLACES_MAX:
            self._places.forget(self._read.popleft())
        if not is_record(entry):
            return True
        try:
            envelope = read_envelope(entry.delivery, vhost=self._vhost)
        except LanguageError:
            return True
        self._note((envelope.source, envelope.epoch), envelope)
        return envelope.time_ns <= self._question.at_ns + RECORDS_LATE_S * NS_PER_S

    def _note(self, speaker: tuple[str, int], envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, StandingRecorded):
            # It is said just after the decision that it stands before, so it may be later than the moment in question.
            chain = self._chains[speaker] = _Chain(event.selector)
            self._take(chain, (_Step(event, self._place(event.seen), envelope.time_ns),))
        elif isinstance(event, DecisionsRecorded) and (chain := self._chains.get(speaker)) is not None:
            self._take(chain, self._steps(event))

    def _steps(self, record: DecisionsRecorded) -> Iterator[_Step]:
        seen = record.seen
        for decision in record.decisions:
            seen = decision.seen or seen
            if decision.at_ns <= self._question.at_ns:
                yield _Step(decision, self._place(seen), decision.at_ns)

    def _take(self, chain: _Chain, steps: Iterable[_Step]) -> None:
        for step in steps:
            chain.steps.append(step)
            is_before = step.at_ns <= self._question.at_ns
            if is_before and (self._last is None or chain.at_ns >= self._last.at_ns):
                self._last = chain
            if self._is_asked_for(step.told):
                self._recorded = _Chain(chain.selector, chain.steps.copy(), is_recorded=True)

    def _is_asked_for(self, told: StandingRecorded | Decision) -> bool:
        question = self._question
        if isinstance(told, StandingRecorded) or told.path != question.path or not told.address:
            return False
        is_then = question.at_ns - told.at_ns <= RECORDED_WITHIN_S * NS_PER_S
        is_newest = self._recorded is None or told.at_ns >= self._recorded.at_ns
        return is_then and is_newest and normalise(told.address) == question.address

    def _place(self, seen: Seen) -> Position:
        return self._places.of(seen) or Position.of(seen)


class _Retelling:
    """Folds the log up to what was known, and makes the decisions of one selector again on the way."""

    def __init__(self, vhost: str, question: Question, chain: _Chain) -> None:
        self._question = question
        self._chain = chain
        self._steps = deque(chain.steps)
        self._replayer = Replayer(vhost=vhost)
        self._retracer = Retracer(self._replayer.view)

    async def tell(self, source: Source) -> Past:
        """Read the log; give the choice."""
        until = self._steps[-1].place if self._chain.is_recorded else None
        async with aclosing(_entries(source)) as entries:
            async for entry in entries:
                self._retrace_before(entry.position)
                is_there = until is not None and entry.position > until
                if is_there or not self._replayer.fold_until([entry], None if until else self._question.at_ns):
                    break
        self._retrace_before(None)
        return self._recorded() if self._chain.is_recorded else self._worked_out()

    def _retrace_before(self, position: Position | None) -> None:
        """Make again what was decided by what is folded now, but for a decision that is asked for."""
        kept = 1 if self._chain.is_recorded else 0
        while len(self._steps) > kept and (position is None or self._steps[0].place < position):
            told = self._steps.popleft().told
            if isinstance(told, StandingRecorded):
                self._retracer.standing(told)
            else:
                self._retracer.retrace(told)

    def _recorded(self) -> Past:
        (step,) = self._steps
        assert isinstance(step.told, Decision)  # noqa: S101 - the search ends with what was asked for
        return self._past(How.RECORDED, step.told)

    def _worked_out(self) -> Past:
        """Ask what would have been decided."""
        question = self._question
        place = question.place_of(question.address)
        file = self._replayer.view.file(question.path)
        return self._past(
            How.WORKED_OUT,
            Decision(
                grant_id=_NO_GRANT,
                at_ns=question.at_ns,
                path=question.path,
                generation=1 if file is None else file.generation,
                address=str(question.address),
                place=Whereabouts(
                    latitude=place.latitude,
                    longitude=place.longitude,
                    country=place.country,
                    continent=place.continent,
                    asn=place.asn,
                    is_precise=place.precise,
                ),
                outcome=DecisionOutcome.OTHER,
            ),
        )

    def _past(self, how: How, decision: Decision) -> Past:
        file = self._replayer.view.file(decision.path)
        if file is None:
            raise PastUnknownError(f"nothing was published at {decision.path} then")
        retraced = self._retracer.retrace(decision, explained=True)
        if retraced.choice is None:
            raise PastUnknownError(f"the choice cannot be made again: {retraced.why_not}")
        visitor = asked_by(decision, file, is_cut=False).visitor
        return Past(
            how=how,
            selector=self._chain.selector,
            decision=decision,
            seen=self._replayer.position,
            retraced=retraced,
            explained=Explanation(file=file, visitor=visitor, choice=retraced.choice),
        )


async def _find(source: Source, question: Question) -> _Chain | None:
    """Look for the records shortly before the moment, and where there are none, for any before it."""
    start_s = question.at_ns / NS_PER_S - RECORDED_WITHIN_S - STANDING_WITHIN_S
    after = await source.place_before(start_s) if isinstance(source, Dated) else None
    found = await _search(source, question, after)
    return found if found is not None or after is None else await _search(source, question, None)


async def _search(source: Source, question: Question, after: Position | None) -> _Chain | None:
    search = _Search(question, vhost=source.vhost)
    async with aclosing(_entries(source, after)) as entries:
        async for entry in entries:
            if not search.read(entry):
                break
    return search.found()


async def _entries(source: Source, after: Position | None = None) -> AsyncGenerator[Entry]:
    async with aclosing(source.batches(after=after)) as batches:
        async for batch in batches:
            for entry in batch:
                yield entry
