"""Who fetches which piece from whom. Pure: ``now_s`` and ``rng`` come in; the shell is ``master.seeding``.

A mirror that lacks a content asks for leases, again and again until it is whole. A lease is leave to fetch one piece
from one source: another mirror, or the master itself (``origin``). Each piece leaves the master a fixed number of times
in total, whatever the number of mirrors; the rest comes from mirrors that have it, be they whole or not. ``tracker``
puts it together, ``swarm`` knows one content, ``stations`` the mirrors, ``leases`` what runs, ``egress`` the master's
own rate.
"""
