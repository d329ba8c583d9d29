"""The answers beside redirects, header by header, as scripts written for mirrorbits and MirrorBrain read them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from events.grants import Grant, check, derive_key, read
from events.names import FilePath, MirrorName
from events.schemas import Access, AccessMode, Location
from selection.access.tickets import sign

if TYPE_CHECKING:
    from conftest import Selector, Site

SECRET = b"the site's secret, 32 bytes long"
VISITOR = {"X-Forwarded-For": "203.0.113.9"}
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
PATH = "dir/ü & <b>.iso"
TARGET = "/dir/%C3%BC%20&%20%3Cb%3E.iso"
NAME = "ü & <b>.iso"
SHA256 = hashlib.sha256(PATH.encode()).hexdigest()
MD5 = bytes(range(16))
SHA1 = bytes(range(20))
LINK = r"http://ana\.example/d/([A-Za-z0-9_-]+)/%C3%BC%20%26%20%3Cb%3E\.iso"
UNTOLD = {"Content-Length", "Date", "Link", "Server"}
V4 = "{urn:ietf:params:xml:ns:metalink}"
V3 = "{http://www.metalinker.org/}"
LISTS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
SITE_URL = "https://dl.example.org"


async def get(
    selector: Selector, target: str, *, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Ask as a visitor; give the status, the headers that are the answer's own, and the body."""
    sent = {**VISITOR, **{name.replace("_", "-"): value for name, value in headers.items()}}
    url = URL(selector.url + target, encoded=True)
    async with selector.http.request(method, url, headers=sent, allow_redirects=False) as answer:
        told = {name: value for name, value in answer.headers.items() if name not in {"Date", "Content-Length"}}
        assert told.pop("Server") == "distributary"
        return answer.status, told, await answer.text()


def grant_in(link: str) -> Grant:
    """Prove the grant in a link to ana."""
    found = re.fullmatch(LINK, link)
    assert found, link
    name = MirrorName("ana")
    return read(found[1], mirror=name, keys={1: derive_key(SECRET, name, 1)})


async def published(site: Site, **more: Any) -> None:  # noqa: ANN401 - any field of the event
    await site.said.published(PATH, **more)
    await site.said.serving("ana", PATH, location=PORTO)


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        (f"{TARGET}.meta4", "*/*"),
        (f"{TARGET}?meta4", "*/*"),
        (TARGET, "application/metalink4+xml"),
        (TARGET, "*/*,application/metalink4+xml,application/metalink+xml"),
    ],
    ids=["suffix", "query", "accepted", "as aria2 accepts"],
)
async def test_metalink_names_the_file_its_hashes_and_pieces_and_working_links(
    memory_site: Site, target: str, accept: str
) -> None:
    pieces = {"size_bytes": 9, "piece_bytes": 4, "piece_digests": b"a" * 32 + b"b" * 32 + b"c" * 32}
    await published(memory_site, md5=MD5, sha1=SHA1, **pieces)
    async with memory_site.selector(site_url=SITE_URL) as selector:
        await selector.until_chosen(PATH, "ana")
        status, headers, body = await get(selector, target, Accept=accept)
    assert status == 200
    assert headers == {
        **LISTS,
        "Content-Type": "application/metalink4+xml; charset=utf-8",
        "Content-Disposition": "attachment; filename*=UTF-8''%C3%BC%20%26%20%3Cb%3E.iso.meta4",
        "Vary": "Accept",
    }
    root = ET.fromstring(body)  # noqa: S314 - our own
    (file,) = root.findall(f"{V4}file")
    assert root.findtext(f"{V4}published") == "2023-11-14T22:13:20Z"
    assert root.findtext(f"{V4}origin") == f"{SITE_URL}/dir/%C3%BC%20%26%20%3Cb%3E.iso.meta4"
    assert (file.get("name"), file.findtext(f"{V4}size")) == (NAME, "9")
    assert {each.get("type"): each.text for each in file.findall(f"{V4}hash")} == {
        "sha-256": SHA256,
        "sha-1": SHA1.hex(),
        "md5": MD5.hex(),
    }
    (told,) = file.findall(f"{V4}pieces")
    assert (told.get("length"), told.get("type")) == ("4", "sha-256")
    assert [each.text for each in told] == [(letter * 32).hex() for letter in (b"a", b"b", b"c")]
    first, last = file.findall(f"{V4}url")
    assert (first.get("priority"), first.get("location")) == ("1", "pt")
    check(grant_in(first.text or ""), address=ip_address("203.0.113.9"), now_s=0, started=False)
    assert (last.get("priority"), last.text) == ("2", f"{SITE_URL}/dir/%C3%BC%20%26%20%3Cb%3E.iso")


@pytest.mark.parametrize(
    ("target", "accept"),
    [(f"{TARGET}.metalink", "*/*"), (f"{TARGET}?metalink", "*/*"), (TARGET, "application/metalink+xml")],
    ids=["suffix", "query", "accepted"],
)
async def test_metalink_of_version_3_says_the_same(memory_site: Site, target: str, accept: str) -> None:
    pieces = {"size_bytes": 8, "piece_bytes": 4, "piece_digests": b"a" * 32 + b"b" * 32}
    await published(memory_site, sha1=SHA1, **pieces)
    async with memory_site.selector(site_url=SITE_URL) as selector:
        await selector.until_chosen(PATH, "ana")
        status, headers, body = await get(selector, target, Accept=accept)
    assert status == 200
    assert headers["Content-Type"] == "application/metalink+xml; charset=utf-8"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC%20%26%20%3Cb%3E.iso.metalink"
    root = ET.fromstring(body)  # noqa: S314 - our own
    assert (root.get("version"), root.get("pubdate")) == ("3.0", "Tue, 14 Nov 2023 22:13:20 GMT")
    (file,) = root.iter(f"{V3}file")
    assert file.get("name") == NAME
    assert {each.get("type"): each.text for each in file.findall(f"{V3}verification/{V3}hash")} == {
        "sha256": SHA256,
        "sha1": SHA1.hex(),
    }
    assert [each.get("piece") for each in file.iter(f"{V3}pieces") for each in each] == ["0", "1"]
    first, last = file.iter(f"{V3}url")
    assert (first.get("type"), first.get("location"), first.get("preference")) == ("http", "pt", "100")
    grant_in(first.text or "")
    assert last.get("type") == "https"


@pytest.mark.parametrize(
    ("form", "digest"), [("sha256", SHA256), ("sha1", SHA1.hex()), ("md5", MD5.hex())], ids=["sha256", "sha1", "md5"]
)
async def test_hashes_are_told_as_both_peers_write_them(memory_site: Site, form: str, digest: str) -> None:
    await published(memory_site, md5=MD5, sha1=SHA1)
    async with memory_site.selector() as selector:
        queried = await get(selector, f"{TARGET}?{form}")
        suffixed = await get(selector, f"{TARGET}.{form}")
    headers = {**LISTS, "Content-Type": "text/plain; charset=utf-8", "Vary": "Accept"}
    assert queried == (200, headers, f"{digest}  {NAME}")
    assert suffixed == (200, headers, f"{digest}  {NAME}\n")


@pytest.mark.parametrize("target", [f"{TARGET}?md5", f"{TARGET}.sha1"])
async def test_hash_that_the_site_does_not_make_is_404(memory_site: Site, target: str) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        status, _, body = await get(selector, target)
    assert (status, body.endswith(" of this file is not known here\n")) == (404, True)


@pytest.mark.parametrize("suffix", ["sha256", "meta4", "mirrorlist"])
async def test_published_file_is_meant_before_the_form_that_its_name_ends_in(memory_site: Site, suffix: str) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.published(f"a.iso.{suffix}")
    async with memory_site.selector() as selector:
        status, headers, _ = await get(selector, f"/a.iso.{suffix}")
    assert status == 302
    assert urlsplit(headers["Location"]).path.endswith(f"/a.iso.{suffix}")


async def test_mirrorlist_is_a_page_that_escapes_all_and_whose_links_work(memory_site: Site) -> None:
    await published(memory_site)
    await memory_site.said.serving("bob")
    async with memory_site.selector() as selector:
        await selector.until_chosen(PATH, "ana")
        queried = await get(selector, f"{TARGET}?mirrorlist", Accept="text/html")
        suffixed = await get(selector, f"{TARGET}.mirrorlist", Accept="text/html")
    for status, headers, body in (queried, suffixed):
        assert status == 200
        policy = headers.pop("Content-Security-Policy")
        assert re.fullmatch(
            r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; "
            r"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            policy,
        )
        assert headers == {**LISTS, "Content-Type": "text/html; charset=utf-8", "Vary": "Accept"}
        assert "<b>" not in body
        assert "<script" not in body
        (link,) = re.findall(r'href="(http://ana[^"]+)"', body)
        grant_in(link)
        assert "it has no copy of the file" in body


async def test_page_style_is_the_one_that_its_policy_names(memory_site: Site) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        _, headers, body = await get(selector, f"{TARGET}?mirrorlist", Accept="text/html")
    style = body[body.index("<style>") + 7 : body.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in headers["Content-Security-Policy"]


async def test_json_has_the_keys_of_mirrorbits_and_nobodys_address(memory_site: Site) -> None:
    await published(memory_site)
    await memory_site.said.serving("bob")
    async with memory_site.selector() as selector:
        await selector.until_chosen(PATH, "ana")
        status, headers, body = await get(selector, TARGET, Accept="application/json, */*")
        _, _, listed = await get(selector, f"{TARGET}?mirrorlist", Accept="application/json")
        _, _, pretty = await get(selector, f"{TARGET}?pretty", Accept="application/json")
    told = json.loads(body)
    assert status == 200
    assert headers == {**LISTS, "Content-Type": "application/json; charset=utf-8", "Vary": "Accept"}
    assert list(told) == ["FileInfo", "IP", "ClientInfo", "MirrorList", "LocalJSPath"]
    assert told["FileInfo"] == {
        "Path": f"/{PATH}",
        "Size": 1000,
        "ModTime": "2023-11-14T22:13:20Z",
        "Sha1": "",
        "Sha256": SHA256,
        "Md5": "",
    }
    assert told["IP"] == "203.0.113.9"
    assert list(told["ClientInfo"]) == [
        "CountryCode", "ContinentCode", "City", "Country", "Latitude", "Longitude", "ASName", "ASNum",
    ]  # fmt: skip
    (ana,) = told["MirrorList"]
    assert list(ana) == [
        "ID", "Name", "HttpURL", "RsyncURL", "FtpURL", "SponsorName", "SponsorURL", "SponsorLogoURL", "AdminName",
        "AdminEmail", "CustomData", "ContinentOnly", "CountryOnly", "ASOnly", "Score", "Latitude", "Longitude",
        "ContinentCode", "CountryCodes", "ExcludedCountryCodes", "Asnum", "Comment", "Enabled", "StateSince",
        "Distance", "ComputedScore", "LastSync", "LastSuccessfulSync", "LastSuccessfulSyncProtocol",
        "LastSuccessfulSyncPrecision", "LastModTime", "AbsoluteURL",
    ]  # fmt: skip
    assert (ana["Name"], ana["HttpURL"], ana["CountryCodes"]) == ("ana", "http://ana.example/", "PT")
    assert (ana["AdminEmail"], ana["RsyncURL"]) == ("", "")
    grant_in(ana["AbsoluteURL"])
    (bob,) = json.loads(listed)["ExcludedList"]
    assert (bob["Name"], bob["ExcludeReason"], bob["AbsoluteURL"]) == ("bob", "it has no copy of the file", "")
    assert pretty.startswith('{\n    "FileInfo": {\n')


@pytest.mark.parametrize(
    "header",
    [
        {"If_None_Match": f'"{SHA256}"'},
        {"If_None_Match": "*"},
        {"If_None_Match": f'W/"{SHA256}"'},
        {"If_Modified_Since": "Tue, 14 Nov 2023 22:13:20 GMT"},
    ],
)
async def test_who_has_the_file_is_not_sent_for_it(memory_site: Site, header: dict[str, str]) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        for method in ("GET", "HEAD"):
            status, headers, body = await get(selector, TARGET, method=method, **header)
            assert (status, body) == (304, "")
            assert headers == {
                **LISTS,
                "Etag": f'"{SHA256}"',  # as aiohttp's client spells it
                "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
                "Vary": "Accept",
            }


@pytest.mark.parametrize(
    "header",
    [
        {"If_None_Match": '"other"'},
        {"If_Modified_Since": "Tue, 14 Nov 2023 22:13:19 GMT"},
        {"If_None_Match": '"other"', "If_Modified_Since": "Tue, 14 Nov 2023 22:13:20 GMT"},
    ],
)
async def test_who_has_another_content_is_sent_for_the_present_one(memory_site: Site, header: dict[str, str]) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        status, _, _ = await get(selector, TARGET, **header)
    assert status == 302


async def test_folder_is_a_page_or_json_of_what_the_visitor_may_have(memory_site: Site) -> None:
    inside = Access(networks=("198.51.100.0/24",))
    await memory_site.said.published("dir/<i>.iso")
    await memory_site.said.published("dir/sub/b.iso")
    await memory_site.said.published("dir/secret.iso", access=inside)
    await memory_site.said.published("dir/hidden/c.iso", access=inside)
    await memory_site.said.published("dir/paid.iso", access=Access(mode=AccessMode.TICKET))
    await memory_site.said.published("nothing/d.iso", access=inside)
    async with memory_site.selector() as selector:
        status, headers, page = await get(selector, "/dir/", Accept="text/html")
        _, _, body = await get(selector, "/dir/", Accept="application/json")
        _, _, top = await get(selector, "/", Accept="application/json")
        without_slash = await get(selector, "/dir?x=1")
        hidden = [(await get(selector, target))[0] for target in ("/nothing/", "/nothing", "/dir/hidden/", "/x/")]
        _, _, within = await get(selector, "/dir/", Accept="application/json", X_Forwarded_For="198.51.100.7")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/dir/%3Ci%3E.iso"' in page
    assert "<i>" not in page
    assert "secret" not in page
    told = json.loads(body)
    assert (told["folder"], told["folders"], told["next"]) == ("dir/", ["sub"], None)
    assert [file["name"] for file in told["files"]] == ["<i>.iso"]
    assert told["files"][0]["sha256"] == hashlib.sha256(b"dir/<i>.iso").hexdigest()
    assert json.loads(top)["folders"] == ["dir"]
    assert (without_slash[0], without_slash[1]["Location"]) == (302, "/dir/?x=1")
    assert hidden == [404, 404, 404, 404]
    assert [file["name"] for file in json.loads(within)["files"]] == ["<i>.iso", "secret.iso"]
    assert json.loads(within)["folders"] == ["hidden", "sub"]


async def test_no_page_of_a_folder_names_a_hidden_file_not_even_as_the_next(memory_site: Site) -> None:
    inside = Access(networks=("198.51.100.0/24",))
    for number in range(1100):
        await memory_site.said.published(f"dir/{number:04}.iso", access=inside)
        await memory_site.said.published(f"hidden/{number:04}.iso", access=inside)
    await memory_site.said.published("dir/zzz.iso")
    async with memory_site.selector() as selector:
        _, _, body = await get(selector, "/dir/", Accept="application/json")
        hidden = await get(selector, "/hidden/", Accept="application/json")
    told = json.loads(body)
    assert ([file["name"] for file in told["files"]], told["next"]) == (["zzz.iso"], None)
    assert hidden[0] == 404


async def test_long_folder_comes_in_pages(memory_site: Site) -> None:
    wanted = [f"{number:04}.iso" for number in range(1100)]
    for name in wanted:
        await memory_site.said.published(f"dir/{name}")
    found: list[str] = []
    async with memory_site.selector() as selector:
        after: str | None = ""
        pages = 0
        while after is not None:
            _, _, body = await get(selector, f"/dir/?after={after}", Accept="application/json")
            told = json.loads(body)
            found += [file["name"] for file in told["files"]]
            after, pages = told["next"], pages + 1
        _, _, page = await get(selector, "/dir/", Accept="text/html")
    assert (found, pages) == (wanted, 3)
    assert 'href="/dir/?after=0499.iso"' in page


@pytest.mark.parametrize("form", ["meta4", "metalink", "mirrorlist", "sha256", "stats"])
async def test_no_form_tells_of_a_file_to_who_may_not_have_it(memory_site: Site, form: str) -> None:
    await published(memory_site, access=Access(networks=("198.51.100.0/24",)))
    async with memory_site.selector() as selector:
        elsewhere = await get(selector, f"{TARGET}?{form}&fromip=198.51.100.7")
        conditional = await get(selector, TARGET, If_None_Match="*")
        inside = await get(selector, f"{TARGET}?{form}", X_Forwarded_For="198.51.100.7")
    assert (elsewhere[0], conditional[0], inside[0]) == (403, 403, 200)
    assert SHA256 not in elsewhere[2]


async def test_error_is_a_page_for_who_reads_pages(memory_site: Site) -> None:
    async with memory_site.selector() as selector:
        status, headers, body = await get(selector, "/<script>", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (status, headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such file here." in body
    assert "<script" not in body


@pytest.mark.parametrize(
    ("query", "code"),
    [("country=xyz", "country_invalid"), ("fromip=here", "address_invalid"), ("mirror=../x", "mirror_invalid")],
)
async def test_nonsense_in_a_query_is_refused_by_name(memory_site: Site, query: str, code: str) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        status, _, body = await get(selector, f"{TARGET}?mirrorlist&{query}", Accept="application/json")
    assert (status, json.loads(body)["error"]["code"]) == (400, code)


async def test_links_of_lists_are_told_to_nobody_and_keep_no_place(memory_site: Site) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        await selector.until_chosen(PATH, "ana")
        for form in ("meta4", "mirrorlist"):
            await get(selector, f"{TARGET}?{form}")
        (ana,) = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        notices = (await selector.ask("/-/api/v1/status"))["notices"]
    assert ana["free_slots"] == 10
    assert notices["waiting"] == 0


async def test_no_link_stands_in_the_log(memory_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    await published(memory_site)
    async with memory_site.selector() as selector:
        await selector.until_chosen(PATH, "ana")
        _, _, body = await get(selector, f"{TARGET}?meta4")
        await get(selector, f"{TARGET}?mirrorlist")
    token = re.findall(r"/d/([A-Za-z0-9_-]{20,})/", body)[0]
    captured = capsys.readouterr()
    assert token[:16] not in captured.out + captured.err


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_redirect_says_what_mirrorbrain_and_mirrorbits_say(memory_site: Site, method: str) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso", location=PORTO)
    await memory_site.said.serving("bob", "a.iso", location=Location(latitude=59.91, longitude=10.75, country="NO"))
    digest = hashlib.sha256(b"a.iso").digest()
    encoded = base64.b64encode(digest).decode()
    async with memory_site.selector(site_url=SITE_URL) as selector:
        await selector.until_chosen("a.iso", "ana")
        url = f"{selector.url}/a.iso?country=pt"
        async with selector.http.request(method, url, headers=VISITOR, allow_redirects=False) as answer:
            links = answer.headers.getall("Link")
            told = {name: value for name, value in answer.headers.items() if name not in UNTOLD}
    location = told.pop("Location")
    assert re.fullmatch(r"http://ana\.example/d/[A-Za-z0-9_-]+/a\.iso", location)
    assert told == {
        **LISTS,
        "Digest": f"SHA-256={encoded}",
        "Etag": f'"{digest.hex()}"',
        "Repr-Digest": f"sha-256=:{encoded}:",
        "Vary": "Accept",
        "X-MirrorBrain-Mirror": "ana",
    }
    assert links == [
        f'<{SITE_URL}/a.iso.meta4>; rel=describedby; type="application/metalink4+xml"',
        f"<{SITE_URL}/a.iso?mirror=bob>; rel=duplicate; pri=1; geo=no",
    ]


@pytest.mark.parametrize(
    ("query", "mirror"),
    [
        ("country=pt", "ana"),
        ("country=NO", "bob"),
        ("mirror=bob", "bob"),
        ("country=pt&not=ana", "bob"),
        ("https=1", "cat"),
    ],
)
async def test_query_says_which_mirror_it_is_to_be(memory_site: Site, query: str, mirror: str) -> None:
    await memory_site.said.published("a.iso")
    oslo = Location(latitude=59.91, longitude=10.75, country="NO")
    tokyo = Location(latitude=35.7, longitude=139.7, country="JP")
    await memory_site.said.serving("ana", "a.iso", location=PORTO)
    await memory_site.said.serving("bob", "a.iso", location=oslo)
    await memory_site.said.serving("cat", "a.iso", location=tokyo, url="https://cat.example")
    async with memory_site.selector() as selector:
        await selector.until(lambda: all_fit(selector, 3))
        sent_to = await selector.sent_to(f"/a.iso?{query}", "203.0.113.9")
        _, _, listed = await get(selector, f"/a.iso?{query}", Accept="application/json")
    assert sent_to == mirror
    assert json.loads(listed)["MirrorList"][0]["Name"] == mirror


async def all_fit(selector: Selector, mirrors: int) -> bool:
    return len((await selector.where("a.iso"))["ranked"]) == mirrors


async def test_statistics_are_told_as_mirrorbits_does_and_by_the_api(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.published("secret.iso", access=Access(networks=("198.51.100.0/24",)))
    await memory_site.said.serving("ana", "a.iso", "secret.iso")
    async with memory_site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        for number in range(3):
            await selector.sent_to("/a.iso", f"203.0.113.{number}")
        await selector.sent_to("/secret.iso", "198.51.100.7")

        async def counted() -> bool:
            return (await selector.ask("/-/api/v1/statistics"))["total"] == 4

        await selector.until(counted)
        _, _, body = await get(selector, "/a.iso?stats")
        today = next(iter((await selector.ask("/-/api/v1/statistics"))["days"]))
        periods = [json.loads((await get(selector, f"/a.iso?stats={today[:end]}"))[2]) for end in (4, 7, 10)]
        by_file = json.loads((await get(selector, "/-/api/v1/statistics?by=file"))[2])
        of_secret = await get(selector, "/-/api/v1/statistics?by=file&key=secret.iso")
        of_ana = await selector.ask("/-/api/v1/statistics", by="mirror", key="ana")
        _, _, fleet = await get(selector, "/?mirrorstats", Accept="text/html")
    assert json.loads(body) == {"Today": 3, "Month": 3, "Year": 3, "Total": 3}
    assert periods == [{"Period": today[:end], "Downloads": 3} for end in (4, 7, 10)]
    assert by_file["figures"] == [{"key": "a.iso", "downloads": 3}]
    assert of_secret[0] == 404
    assert (of_ana["today"], of_ana["days"], of_ana["sent_bytes_by_day"]) == (4, {today: 4}, {})
    assert re.search(r">ana</a>.*>4 \u00b7 0 B<", fleet)


async def test_links_of_a_list_carry_the_ticket_that_opened_it(memory_site: Site) -> None:
    key = b"the key that the site signs with"
    await published(memory_site, access=Access(mode=AccessMode.TICKET))
    ticket = sign(FilePath(PATH), expires_s=2**31, key=key)
    async with memory_site.selector(ticket_key=key, site_url=SITE_URL) as selector:
        without = await get(selector, f"{TARGET}?meta4")
        await selector.until(lambda: has_mirror(selector, ticket))
        _, _, body = await get(selector, f"{TARGET}?meta4&ticket={ticket}")
        urls = [url.text or "" for url in ET.fromstring(body).iter(f"{V4}url")]  # noqa: S314 - our own
        own = urls[-1].removeprefix(SITE_URL)
        again = await get(selector, own)
        stolen = await get(selector, own, X_Forwarded_For="203.0.113.10")
    assert (without[0], again[0], stolen[0]) == (403, 302, 403)
    assert len(urls) == 2
    assert all("?ticket=" in url for url in urls)


async def has_mirror(selector: Selector, ticket: str) -> bool:
    _, _, body = await get(selector, f"{TARGET}?meta4&ticket={ticket}")
    return "http://ana.example/" in body


@pytest.mark.parametrize(
    "head",
    [
        "GET /a.iso.meta4 HTTP/1.1\r\nHost: [::1",
        "GET /a.iso.meta4 HTTP/1.1\r\nHost: a b<c>",
        "GET /a.iso.meta4 HTTP/1.1\r\nHost: x:99999999",
        "GET /a.iso.meta4 HTTP/1.1\r\nHost: ",
        "GET http://other.example:x/a.iso.meta4 HTTP/1.1\r\nHost: x",
        "GET /a.iso?mirrorlist&fromip=%00&country=%ff HTTP/1.1\r\nHost: x",
        "GET /a.iso?stats=%D9%A1%D9%A2%D9%A3%D9%A4 HTTP/1.1\r\nHost: x",
        "GET /a.iso?stats=0000-00-00 HTTP/1.1\r\nHost: x",
        "GET /a.iso?mirror=%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x",
        "GET /a.iso?ticket=%22%3E%3Cscript%3E&mirrorlist HTTP/1.1\r\nHost: x",
        'GET /a.iso HTTP/1.1\r\nHost: x\r\nIf-None-Match: W/foo,,"\r\nAccept: ;q=,application/json;q=x;;,',
        "GET /a.iso HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: Tue, 99 Nov 99999 99:99:99 GMT",
        "GET /?after=%ed%a0%80 HTTP/1.1\r\nHost: x",
        "GET /?after=%00&mirrorstats HTTP/1.1\r\nHost: x\r\nAccept: text/html",
        "GET /-/api/v1/statistics?by=file&key=%00 HTTP/1.1\r\nHost: x",
        "GET /-/api/v1/statistics?from=9999-12-31&to=9999-12-31 HTTP/1.1\r\nHost: x",
        "GET /-/api/v1/statistics?from=0001-01-01&to=0001-01-01&by=file HTTP/1.1\r\nHost: x",
        "GET /-/api/v1/files?after=%ed%a0%80 HTTP/1.1\r\nHost: x",
        "GET /%ed%a0%80.sha256 HTTP/1.1\r\nHost: x",
        "GET /a.iso%0a.sha256 HTTP/1.1\r\nHost: x",
    ],
)
async def test_no_request_makes_the_selector_stumble_or_speak_with_its_tongue(memory_site: Site, head: str) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(selector.url).port)
        writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    status = int(answer.split(" ", 2)[1])
    fields, _, body = answer.partition("\r\n\r\n")
    assert status < 500
    assert "Set-Cookie" not in fields
    assert "<script" not in body
