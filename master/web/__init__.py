"""The master's HTTP interface, as ``docs/http-api.md`` says. Each module is one part; ``routes`` puts them together.

Handlers parse, ask a service and write the answer; what is refused they let pass, and ``refusals`` answers it.
"""
