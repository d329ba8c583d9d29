"""Tells of one file in the form that a visitor wants, once he has access and does not want to be sent on."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, assert_never
from urllib.parse import quote

from aiohttp import web
from msgspec import UNSET

from edge.errors import ApiError
from edge.localness import is_local
from events.names import ORIGIN, FilePath, file_name
from selection.answering import answers
from selection.answering.links import is_base_url
from selection.answering.redirector import Office
from selection.answering.surface.asking import Asked
from selection.answering.surface.figures import PeriodError, counts_of, period_count_of
from selection.answering.surface.metalink import Document, metalink3, metalink4
from selection.answering.surface.mirrorbits import Results
from selection.answering.surface.mirrorbits_parts import client_info, excluded_of, file_info, mirrors_of
from selection.answering.surface.offering import offers_for
from selection.answering.surface.offers import Offer
from selection.answering.surface.pages import FilePage, file_page
from selection.answering.surface.replying import json_reply, page_reply, refusal, text_reply
from selection.answering.surface.wishes import METALINK3_TYPE, METALINK4_TYPE, Form, Wish
from selection.answering.surface.words import moment
from selection.policy.choice import Choice
from selection.view.file import PublishedFile
from selection.view.statistics import Statistics
from selection.view.tallies import day_of

TEXT: Final = "text/plain"
SITE: Final = "site"
"""What stands for the site itself where servers are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Tells of files. ``site_url`` is the public one, where it is known."""

    office: Office
    statistics: Statistics
    site_url: str | None

    def today(self) -> int:
        """Give the number of the day."""
        return day_of(self.office.clock_s())

    def tell(self, request: web.Request, file: PublishedFile, asked: Asked, wish: Wish) -> web.Response:
        """Answer in the form that is wished for."""
        match wish.form:
            case Form.METALINK4 | Form.METALINK3:
                return self._metalink(request, file, asked, wish.form)
            case Form.SHA256 | Form.SHA1 | Form.MD5:
                return self._hash(request, file, wish)
            case Form.MIRRORLIST if not wish.as_json:
                return self._page(request, file, asked)
            case Form.MIRRORLIST | Form.MIRRORBITS:
                return self._mirrorbits(request, file, asked, wish)
            case Form.STATS:
                return self._stats(request, file)
            case Form.REDIRECT:
                raise AssertionError("a redirect is the redirector's to make")
            case _:
                assert_never(wish.form)

    def _metalink(self, request: web.Request, file: PublishedFile, asked: Asked, form: Form) -> web.Response:
        own_url = self._own_url(request, file.path)
        stable = Offer(mirror=SITE, url=_with_query(own_url, asked.ticket_query))
        document = Document(
            name=file_name(file.path),
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            digests=self.office.view.digests(file),
            pieces=self.office.view.pieces(file),
            published_at=moment(file.published_at_ns),
            origin_url=_with_query(f"{own_url}.{form.value}", asked.ticket_query),
            offers=(*offers_for(file, asked, self.office), stable),
        )
        is_newer = form is Form.METALINK4
        text = metalink4(document) if is_newer else metalink3(document)
        disposition = f"attachment; filename*=UTF-8''{quote(f'{document.name}.{form.value}', safe='')}"
        media_type = METALINK4_TYPE if is_newer else METALINK3_TYPE
        return text_reply(text, media_type, {"Content-Disposition": disposition})

    def _hash(self, request: web.Request, file: PublishedFile, wish: Wish) -> web.Response:
        """Answer as ``sha256sum`` writes it: mirrorbits' queries end without a line feed, MirrorBrain's files with."""
        digest = self._hashes(file)[wish.form.value]
        if not digest:
            message = f"the {wish.form.value} of this file is not known here"
            return refusal(request, ApiError("hash_unknown", message, status=HTTPStatus.NOT_FOUND))
        end = "\n" if wish.is_suffix else ""
        return text_reply(f"{digest}  {file_name(file.path)}{end}", TEXT, {})

    def _page(self, request: web.Request, file: PublishedFile, asked: Asked) -> web.Response:
        page = FilePage(
            path=file.path,
            size_bytes=file.size_bytes,
            published_at=moment(file.published_at_ns),
            hashes=self._hashes(file),
            country=asked.visitor.place.country,
            offers=offers_for(file, asked, self.office),
            rejected=answers.rejections(self._choice(file, asked), names_networks=is_local(request)),
            valid_s=self.office.terms.start_by_s,
            query=asked.ticket_query,
        )
        return page_reply(file_page(page))

    def _mirrorbits(self, request: web.Request, file: PublishedFile, asked: Asked, wish: Wish) -> web.Response:
        view, visitor = self.office.view, asked.visitor
        offers = offers_for(file, asked, self.office)
        results = Results(
            file=file_info(file, view.digests(file)),
            ip=str(visitor.address),
            client=client_info(visitor.place),
            mirrors=mirrors_of(offers, visitor.place, view),
            excluded=(
                excluded_of(self._choice(file, asked), visitor.place, view) if wish.form is Form.MIRRORLIST else UNSET
            ),
            fallback=any(offer.mirror == ORIGIN for offer in offers) or UNSET,
        )
        return json_reply(results, request)

    def _stats(self, request: web.Request, file: PublishedFile) -> web.Response:
        period = request.query.get(Form.STATS.value, "")
        if not period:
            return json_reply(counts_of(self.statistics, file.path, today=self.today()), request)
        try:
            return json_reply(period_count_of(self.statistics, file.path, period), request)
        except PeriodError as error:
            raise ApiError("period_invalid", str(error), "write ?stats=2026-11 or ?stats=2026-11-22") from error

    def _choice(self, file: PublishedFile, asked: Asked) -> Choice:
        office = self.office
        return office.policy.explain(file, asked.visitor, now_s=office.hearing.now_s, rng=office.rng)

    def _hashes(self, file: PublishedFile) -> dict[str, str]:
        digests = self.office.view.digests(file)
        return {"sha256": file.sha256.hex(), "sha1": digests.sha1.hex(), "md5": digests.md5.hex()}

    def _own_url(self, request: web.Request, path: FilePath) -> str:
        """Give the site's own URL of a file: the public one, or else that by which this visitor came."""
        base = self.site_url or f"{request.scheme}://{request.host}"
        if not is_base_url(base):
            raise ApiError("host_invalid", "this request does not say which site it is for")
        return f"{base.rstrip('/')}/{quote(path)}"


def _with_query(url: str, query: str) -> str:
    return f"{url}?{query}" if query else url
