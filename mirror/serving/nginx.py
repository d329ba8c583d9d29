"""What nginx is told when it sends a mirror's bytes, and what it tells of each answer. Pure.

The mirror decides and answers ``X-Accel-Redirect`` with a place made of the hash alone; nginx sends, and says in its
log what became of it: as a datagram at once, and in a file within seconds, for a datagram may be lost. Neither holds a
path, for paths hold tokens. Two internal places lead to the same files: under ``PART_PLACE`` nginx sends the one range
that was asked for, under ``WHOLE_PLACE`` always all of it, so that it never decides otherwise than the mirror did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from events.names import Digest

PART_PLACE: Final = "/-/objects/"
WHOLE_PLACE: Final = "/-/whole/"
REQUEST_FIELD: Final = "Distributary-Request"  # nginx's name of a request, by which its log is matched
ACCOUNT_FIELD: Final = "Distributary-Account"  # the mirror's word on an answer, by which nginx's log is kept short
PRESUMED: Final = "presumed"  # counted as sent already: the log tells of it only where it was not
TAG: Final = "distributary"
_FIELDS: Final = 6
_NO_LABEL: Final = re.compile("[^0-9A-Za-z]+")

_SNIPPET: Final = """\
# Lets nginx send the copies of the mirror {name}. Written by `distributary mirror nginx`; belongs into the http block:
# on Debian into /etc/nginx/conf.d/distributary.conf. Write it anew when the mirror's configuration changed.

log_format {label} '$request_id $status $body_bytes_sent $connection $connection_requests $request_completion';
limit_conn_zone $binary_remote_addr zone={label}:10m;
map "$upstream_http_{account_variable} $status $request_completion" ${logged} {{
    default 1;
    "{presumed} 200 OK" 0;
    "{presumed} 206 OK" 0;
}}

upstream {label} {{
    server unix:{requests};
    keepalive 16;
}}

server {{
    listen {listen};
    server_name {server_name};
    server_tokens off;

    # Paths hold tokens: no log may have them. What nginx cannot read, the mirror reports.
    error_log /dev/null emerg;
    access_log syslog:server=unix:{accounts},nohostname,tag={tag} {label} if=${logged};
    access_log {log_file} {label} buffer=32k flush=5s if=${logged};

    limit_conn {label} {connections_per_address};
    limit_conn_status 429;
    client_max_body_size 1m;
    client_header_timeout 10s;
    send_timeout 60s;
    reset_timedout_connection on;
    tcp_nopush on;
    open_file_cache max=1000 inactive=20s;
    open_file_cache_valid 5s;

    location / {{
        proxy_pass http://{label};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header Forwarded "";
        proxy_set_header {request_field} $request_id;
        proxy_max_temp_file_size 0;
    }}

    location {part_place} {{
        internal;
        alias {objects}/;
        max_ranges 1;
{fields}    }}

    location {whole_place} {{
        internal;
        alias {objects}/;
        max_ranges 0;
        add_header Accept-Ranges bytes;
{fields}    }}
}}
"""

# nginx keeps only a few fields of the answer that redirects it; the others it must be told of.
_FIELD_LINES: Final = """\
        sendfile on;
        disable_symlinks on from={objects};
        etag off;
        if_modified_since off;
        add_header Last-Modified $upstream_http_last_modified;
        add_header ETag $upstream_http_etag;
        add_header Repr-Digest $upstream_http_repr_digest;
        add_header Referrer-Policy no-referrer;
        add_header X-Content-Type-Options nosniff;
        add_header Content-Security-Policy sandbox;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxPlan:
    """All that the snippet depends on. Paths are absolute. ``mirror`` is where the mirror itself listens.

    ``requests`` is the mirror's socket for nginx to ask, ``accounts`` the one to tell what it sent.
    """

    name: str
    listen: str
    server_name: str
    mirror: str
    objects: str
    requests: str
    accounts: str
    log_file: str
    connections_per_address: int


class Account(NamedTuple):
    """What nginx says of one answer. ``body_bytes`` is what it handed to the kernel, not what has arrived."""

    request: str
    status: int
    body_bytes: int
    completed: bool


def snippet(plan: NginxPlan) -> str:
    """Write nginx's configuration for a mirror."""
    label = f"{TAG}-{_NO_LABEL.sub('-', plan.mirror).strip('-')}"  # another mirror's here is another
    return _SNIPPET.format(
        name=plan.name,
        label=label,
        logged=f"{label.replace('-', '_')}_logged",
        account_variable=ACCOUNT_FIELD.lower().replace("-", "_"),
        presumed=PRESUMED,
        listen=plan.listen,
        server_name=plan.server_name,
        objects=plan.objects,
        requests=plan.requests,
        accounts=plan.accounts,
        log_file=plan.log_file,
        tag=TAG,
        connections_per_address=plan.connections_per_address,
        request_field=REQUEST_FIELD,
        part_place=PART_PLACE,
        whole_place=WHOLE_PLACE,
        fields=_FIELD_LINES.format(objects=plan.objects),
    )


def place_of(sha256: Digest, *, whole: bool) -> str:
    """Say where nginx finds a content: made of the hash, and of nothing that a visitor sent."""
    name = sha256.hex()
    return f"{WHOLE_PLACE if whole else PART_PLACE}{name[:2]}/{name[2:4]}/{name}"


def read_account(line: str) -> Account | None:
    """Read a line of nginx's log, with or without what syslog puts before it; None where it is none of ours."""
    fields = line.rpartition(f"{TAG}: ")[2].rstrip("\n").split(" ")
    if len(fields) != _FIELDS or not fields[1].isdecimal() or not fields[2].isdecimal():
        return None
    return Account(request=fields[0], status=int(fields[1]), body_bytes=int(fields[2]), completed=fields[-1] == "OK")
