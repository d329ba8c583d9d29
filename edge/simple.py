"""The grammar of simple requests, which an ``edge.lane`` answers: stricter than HTTP's in every line. Pure.

A simple request is a GET or HEAD of HTTP/1.1 without anything that frames a body, asks for an upgrade or for a word
before the body. Whatever is not simple may be good HTTP all the same: aiohttp knows.
"""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES_MAX: Final = 4096  # browsers send a kilobyte; whoever sends more is no simple visitor
FIELDS_MAX: Final = 40  # browsers send about 20, proxies add five

# RFC 9110 §5.6.2 and RFC 3986 §3.3; of §5.5 no byte past ASCII. Whatever else is good HTTP, aiohttp knows it. No part
# gives back what it took ("+" behind a repetition): nothing else could follow it, and to remember how takes as long.
_SIMPLE: Final = re.compile(
    rb"(?:GET|HEAD) (/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n){1," + str(FIELDS_MAX).encode() + rb"}+)\r\n"
)
_HEAD_BEGINS: Final = ord("H")
# What may alter how much belongs to a request, or what becomes of the connection; and what aiohttp takes once only. All
# first letters stand in front: most fields are passed over by them.
_FRAMING: Final = re.compile(
    rb"\n(?=[cehmpstu])(?:connection:(?![\t ]*(?:close|keep-alive)[\t ]*\r)"
    rb"|content-|etag:|expect:|http2-settings:|max-forwards:|proxy-connection:|sec-websocket-|server:"
    rb"|te:|trailer:|transfer-encoding:|upgrade:)"
)
_CLOSE: Final = re.compile(rb"\nconnection:[\t ]*close[\t ]*\r")
_STARTS: Final = (b"GET /", b"HEAD /")
_HEAD_END: Final = b"\r\n\r\n"


class SimpleRequest:
    r"""One simple request: whole, and without a body.

    Attributes:
        is_head: whether its method is HEAD; else it is GET.
        is_last: whether its sender wants the connection to end with the answer.
        target: path and query as they were sent, still percent-encoded; ASCII, with its first slash.
        peer: the address at the other end of the connection.
        lower: the fields, each of them ``\nname:value\r``, all in lower case: to be searched for many at once.
    """

    __slots__ = ("_fields", "is_head", "is_last", "lower", "peer", "target")

    def __init__(self, target: bytes, peer: str, fields: bytes, lower: bytes, is_head: bool) -> None:  # noqa: FBT001 - made for each request, where a keyword is felt
        self.target, self.peer, self.is_head = target, peer, is_head
        # To ask by "in" takes three times as long: Python 3.11 first makes an error, since bytes are no number.
        self.is_last = lower.find(b"\nconnection:") >= 0 and _CLOSE.search(lower) is not None
        self._fields, self.lower = fields, lower

    def has(self, pattern: re.Pattern[bytes]) -> bool:
        """Search the fields in lower case."""
        return pattern.search(self.lower) is not None

    def value(self, mark: bytes) -> bytes | None:
        r"""Give the value of the one field that has this mark (``\nname:``, in lower case); None: there are more.

        Where there is none it is empty.
        """
        lower = self.lower
        at = lower.find(mark)
        if at < 0:
            return b""
        begin = at + len(mark)
        end = lower.index(b"\r", begin)
        return None if lower.find(mark, end) >= 0 else self._fields[begin:end].strip(b"\t ")

    def values(self, name: bytes) -> list[str]:
        """Give the values of all fields of a name (in lower case), in their order, as aiohttp would."""
        lower, mark = self.lower, b"\n" + name + b":"
        found: list[str] = []
        at = lower.find(mark)
        while at >= 0:
            begin = at + len(mark)
            at = lower.index(b"\r", begin)
            found.append(self._fields[begin:at].strip(b"\t ").decode("ascii"))
            at = lower.find(mark, at)
        return found


def read_simple(data: bytes, at: int, peer: str) -> tuple[SimpleRequest, int] | None:
    """Read the simple request that begins at a place; give it, and where the next begins. None: there is none."""
    found = _SIMPLE.match(data, at)
    if found is None:
        return None
    begin, end = found.span(2)
    next_at = end + 2
    if next_at - at > HEAD_BYTES_MAX:
        return None
    fields = data[begin - 1 : end]  # from the line feed before them
    lower = fields.lower()
    if _FRAMING.search(lower) or lower.count(b"\nhost:") != 1 or lower.count(b"\nuser-agent:") > 1:
        return None
    return SimpleRequest(found[1], peer, fields, lower, data[at] == _HEAD_BEGINS), next_at


def may_be_begun(data: bytes, at: int) -> bool:
    """Tell whether a request that is not whole yet may become a simple one."""
    rest = data[at : at + HEAD_BYTES_MAX + 1]
    starts = any(rest.startswith(start) or start.startswith(rest) for start in _STARTS)
    return starts and len(rest) <= HEAD_BYTES_MAX and _HEAD_END not in rest
