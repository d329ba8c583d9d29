"""The policy: from a view and a visitor to a mirror, by six criteria strictly in order. Pure.

1. access: the file's networks take the visitor; the mirror, and the site's rule for it, take his country, continent
and network. 2. file: the mirror follows a channel that holds it, has a copy, and has acted on the last withdrawal of
that path; for metadata, mirrors that have all of the channel's come first. 3. online: not disabled by the site,
announced, inventory complete, heard of lately, with a grant key that holds, open to new visitors, and reached by the
visitor's address family and the scheme that he asks for. 4. load: a slot is free under the threshold, uncounted grants
included; who has had its share of the visitor's continent comes after all that have not. 5. quota: enough is left for
the whole file; whoever spares what is left comes after all others. 6. distance: the visitor's own network first, then
ring by ring (``selection.policy.atlas``); among near-equals the dice fall by free slots times the site's weight, and
for metadata the visitor has always the same (``selection.policy.sticky``).

``choose`` is asked for each visitor and costs some microseconds whatever the size of the fleet: the criteria 3 to 5 are
bit sets that are kept up to date, the order of a place is made once. ``explain`` asks every mirror every criterion.
What ``choose`` gives is always of ``explain``'s first group, and its frequencies are those of ``explain``'s draw.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from events.names import ORIGIN, MirrorName
from selection.access.networks import has_access
from selection.places.place import Place
from selection.policy.answers import Answer, Question
from selection.policy.choice import Choice, RejectReason
from selection.policy.drawing import Rng
from selection.policy.eligible import NOBODY, Eligible
from selection.policy.explaining import Case, choose, rejection_of
from selection.policy.picking import Picker
from selection.policy.questions import Questions
from selection.policy.ranking import Ranking, Rankings
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.standing import Standing
from selection.policy.sticky import StickyKey, sticky_key
from selection.policy.terrain import Terrain
from selection.policy.visitor import Visitor
from selection.view.changes import Changes
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView
from selection.view.roster import Mirror


class Offer(Struct, frozen=True, gc=False):
    """Where a visitor is to be sent: to a mirror, or, without one, to the master. Without ``access`` nowhere.

    ``others`` are the best mirrors besides it, best first: where else he may have the file.
    """

    access: bool
    mirror: Mirror | None
    others: tuple[Mirror, ...]


_NO_ACCESS: Final = Offer(access=False, mirror=None, others=())


class Policy:
    """Chooses mirrors. ``now_s`` is on the clock on which load reports were heard.

    Attributes:
        shares: who was sent how many visitors, where mirrors are capped.
        reserve: notes a grant, after the choice that led to it (``Eligible.reserve``).
    """

    def __init__(self, view: FleetView, reservations: Reservations, rules: Rules, shares: Shares | None = None) -> None:
        self._view, self._reservations, self._rules = view, reservations, rules
        self._by_number = view.by_number
        self._sticky_tags = frozenset(rules.sticky_tags)
        self.shares = Shares() if shares is None else shares
        self._terrain = Terrain(rules, self.shares)
        self._eligible = Eligible(view, reservations, rules, self._terrain)
        self.reserve = self._eligible.reserve
        self._rankings = Rankings(self._terrain.atlas)
        self._questions = Questions(view, self._eligible, self._terrain)
        self._roster, self._acknowledgements = view.parts.roster, view.parts.acknowledgements
        self._picker = Picker(self._eligible, self._terrain, self._rankings)

    def standing(self, *, now_s: float) -> Standing:
        """Give how the mirrors fare, whoever asks."""
        return Standing(self._view, self._reservations, self._rules, now_s)

    def choose(self, file: PublishedFile, visitor: Visitor, count: int, *, now_s: float, rng: Rng) -> Offer:
        """Choose a mirror of the first group of ``explain``, and up to ``count`` others, fast and without reasons."""
        if file.access.networks and not has_access(file.access, visitor.address):
            return _NO_ACCESS
        question, ranking = self._asked(file, visitor, count, now_s)
        answer = ranking.answers.get(question) or self._picker.find(ranking, question)
        number = NOBODY if file.tags else self._picker.draw_near(answer, ranking, rng.random, file.size_bytes)
        if number == NOBODY:
            number = self._drawn(question, ranking, file, visitor, rng)
        mirror = None if number == NOBODY else self._by_number(number)
        others = self._besides(answer, number, count) if count else ()
        return Offer(True, mirror, others)  # noqa: FBT003 - a keyword costs as much as an "&"

    def explain(self, file: PublishedFile, visitor: Visitor, *, now_s: float, rng: Rng) -> Choice:
        """Choose a mirror for a visitor, and say for each other one why it is not that."""
        return choose(self._case(file, visitor, now_s), rng=rng)

    def others(
        self,
        file: PublishedFile,
        visitor: Visitor,
        count: int,
        *,
        now_s: float,
        besides: Mirror | None = None,
    ) -> tuple[Mirror, ...]:
        """Give the best mirrors for a visitor ``besides`` the one that was picked, best first and without dice."""
        question, ranking = self._asked(file, visitor, count, now_s)
        answer = self._picker.answer(ranking, question)
        return self._besides(answer, NOBODY if besides is None else besides.number, count)

    def may_return(self, file: PublishedFile, visitor: Visitor, name: MirrorName, *, now_s: float) -> Mirror | None:
        """Give a mirror that keeps a place for this visitor and this file, if it can serve him still.

        All slots may be spoken for, since one is for him, but not all at work.
        """
        self._eligible.catch_up(now_s)
        number = self._eligible.numbers.get(name)
        mirror = None if number is None else self._by_number(number)
        if mirror is None or not mirror.in_fleet:
            return None
        if self._may_be_picked(mirror, file, visitor, now_s):
            return mirror
        case = self._case(file, visitor, now_s)
        rejection = rejection_of(case, mirror)
        if rejection is None:
            return mirror
        is_his = rejection.reason is RejectReason.FULL and case.standing.has_idle_slot(name)
        return mirror if is_his else None

    def _may_be_picked(self, mirror: Mirror, file: PublishedFile, visitor: Visitor, now_s: float) -> bool:
        """Tell, of a file for all networks, whether dice might fall on a mirror: then nothing speaks against it."""
        if file.access.networks:
            return False
        question, ranking = self._asked(file, visitor, 0, now_s)
        bit = ranking.in_reach & 1 << mirror.number
        return any(pool & bit for pool in question.pools) and self._eligible.can_serve(mirror.number, file.size_bytes)

    @property
    def figured(self) -> Changes:
        """Tell whose figures may be others than before, as last taken up, but for what ``reserve`` counted."""
        return self._eligible.figured

    @property
    def known(self) -> int:
        """Count the mirrors that were looked at; their numbers are below."""
        return len(self._eligible.numbers)

    def needs_address(self, file: PublishedFile, *, now_s: float) -> bool:
        """Tell whether it matters to a choice which address a visitor has, and not only where that is."""
        self._eligible.catch_up(now_s)
        terrain = self._terrain
        return bool(file.access.networks) or terrain.is_uneven or terrain.has_neighbours or self._is_sticky(file)

    def spent(self, visitor: Visitor, *, now_s: float) -> tuple[MirrorName, ...]:
        """Give the mirrors that have had their share of a visitor's continent; none while none is capped."""
        spent = self.shares.spent(visitor.whereabouts.continent, now_s=now_s)
        numbers = self._eligible.weights.numbers_in(spent)
        return tuple(self._by_number(number).name for number in numbers)

    def sent(self, mirror: Mirror, visitor: Visitor, *, now_s: float) -> None:
        """Take note, after a choice, that a visitor was sent to that mirror: it counts while any mirror is capped."""
        self.shares.note(mirror.number, visitor.whereabouts.continent, now_s=now_s)

    def expect(self, place: Place) -> None:
        """Let the order of mirrors for a place be worked out by ``prepare``: visitors will come from there."""
        self._rankings.expect(place)

    def heard(self, now_s: float) -> None:
        """Take up load reports, so that the next visitor need not wait for it; ``prepare`` takes up all else."""
        self._eligible.catch_up_loads(now_s)

    def prepare(self, *, now_s: float) -> bool:
        """Do a slice of what else the next visitor of a place would wait for; tell whether there is more of it."""
        self._eligible.catch_up(now_s)
        return self._rankings.prepare()

    def _asked(self, file: PublishedFile, visitor: Visitor, count: int, now_s: float) -> tuple[Question, Ranking]:
        """Find whom a visitor may be sent to, and in which order."""
        self._eligible.catch_up(now_s)
        if self._is_plain(file, visitor):
            question = self._questions.plain(file, count, secure=visitor.secure)
        else:
            question = self._questions.of(self._pools(file, visitor, now_s), self._neighbours(visitor), count)
        return question, self._rankings.for_pools(visitor.place, question.pools)

    def _is_plain(self, file: PublishedFile, visitor: Visitor) -> bool:
        """Tell whether he wants nothing but a file, perhaps by https, and all who do may be sent to the same."""
        terrain = self._terrain
        return not (
            file.tags
            or visitor.asked_not
            or visitor.only is not None
            or visitor.home is not None
            or terrain.is_uneven
            or terrain.has_neighbours
            or terrain.shares.is_capped
            or file.path in self._acknowledgements.withdrawals
        )

    def _pools(self, file: PublishedFile, visitor: Visitor, now_s: float) -> tuple[int, ...]:
        """Find whom a visitor may be sent to, whoever he is and whatever he wants."""
        pools = self._questions.pools(self._servers(file, visitor), file.size_bytes)
        if self._terrain.shares.is_capped or file.tags:
            return self._preferred(pools, file, visitor, now_s)
        return pools

    def _drawn(self, question: Question, ranking: Ranking, file: PublishedFile, visitor: Visitor, rng: Rng) -> int:
        """Draw, one after the other, until somebody has enough quota left."""
        key = self._sticky_key(file, visitor) if file.tags else None
        for pool in question.pools:
            if pool:
                number = self._picker.pick(pool, ranking, rng.random, file.size_bytes, question.neighbours, key)
                if number != NOBODY:
                    return number
        return NOBODY

    def _besides(self, answer: Answer, besides: int, count: int) -> tuple[Mirror, ...]:
        """Give the best few but one, as they are now but for their loads; the same object while that is so."""
        if besides not in answer.best:  # then they are the same whoever it is, and whatever is written of them is, too
            besides = NOBODY
        known, version = answer.others, self._roster.version
        if known is None:
            return self._best(answer, besides, count)
        if answer.version != version:
            known.clear()
            answer.version = version
        others = known.get(besides)
        if others is None:
            others = known[besides] = self._best(answer, besides, count)
        return others

    def _best(self, answer: Answer, besides: int, count: int) -> tuple[Mirror, ...]:
        by_number = self._by_number
        return tuple([by_number(number) for number in answer.best if number != besides][:count])

    def _neighbours(self, visitor: Visitor) -> int:
        return self._terrain.neighbours(visitor.address) if self._terrain.has_neighbours else 0

    def _servers(self, file: PublishedFile, visitor: Visitor) -> int:
        """Give the mirrors that can serve a file to a visitor, whether they are eligible now or not."""
        servers = self._view.servers(file)
        if self._terrain.is_uneven:
            servers &= ~self._terrain.closed_to(visitor.address)
        if visitor.home is not None:
            servers &= self._rankings.of(visitor.home).in_reach
        if visitor.asked_not or visitor.only is not None or visitor.secure is not None:
            servers = self._wanted(servers, visitor)
        return servers

    def _wanted(self, servers: int, visitor: Visitor) -> int:
        """Leave out those that a visitor does not want."""
        if len(visitor.asked_not - {ORIGIN}) >= self._rules.hops_max:
            return 0
        for name in visitor.asked_not:
            servers &= ~self._bit(name)
        if visitor.only is not None:
            servers &= self._bit(visitor.only)
        return self._terrain.reached(servers, secure=visitor.secure)

    def _bit(self, name: MirrorName) -> int:
        number = self._eligible.numbers.get(name)
        return 0 if number is None else 1 << number

    def _preferred(
        self, pools: tuple[int, ...], file: PublishedFile, visitor: Visitor, now_s: float
    ) -> tuple[int, ...]:
        """Part pools further by what is asked of mirrors only while others can serve."""
        shares = self._terrain.shares
        if shares.is_capped and (spent := shares.spent(visitor.whereabouts.continent, now_s=now_s)):
            pools = _parted(pools, ~spent)
        if file.tags and self._is_sticky(file):
            pools = _parted(pools, self._current(file))
        return pools

    def _is_sticky(self, file: PublishedFile) -> bool:
        return not self._sticky_tags.isdisjoint(file.tags)

    def _sticky_key(self, file: PublishedFile, visitor: Visitor) -> StickyKey | None:
        if not file.channels or not self._is_sticky(file):
            return None
        return sticky_key(visitor.address, file.channels[0])

    def _current(self, file: PublishedFile) -> int:
        """Give the mirrors that have all metadata of a channel that a file is in."""
        current = 0
        for channel in file.channels:
            current |= self._view.metadata_holders(channel, self._sticky_tags)
        return current

    def _case(self, file: PublishedFile, visitor: Visitor, now_s: float) -> Case:
        self._eligible.catch_up(now_s)
        return Case(
            file=file,
            visitor=visitor,
            standing=self.standing(now_s=now_s),
            access=has_access(file.access, visitor.address),
            followers=self._view.followers(file),
            holders=self._view.holders(file.sha256),
            withdrawn_from=self._view.withdrawn_from(file),
            ranking=self._rankings.of(visitor.place),
            neighbours=self._neighbours(visitor),
            current=self._current(file) if self._is_sticky(file) else None,
            key=self._sticky_key(file, visitor),
            shares=self._terrain.shares,
        )


def _parted(pools: tuple[int, ...], preferred: int) -> tuple[int, ...]:
    """Put what is preferred of all pools before the rest of all."""
    return (*(pool & preferred for pool in pools), *(pool & ~preferred for pool in pools))
