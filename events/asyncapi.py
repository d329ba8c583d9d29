"""The same as ``docs/events.md`` for tools: an AsyncAPI 3.0 document, ``docs/asyncapi.yaml``. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias, cast

import msgspec

from events.codec import CONTENT_TYPE
from events.describe import addresses_of, doc_of, speaker_of, tag_of_type
from events.envelope import Envelope
from events.routing import Address
from events.schemas import EVENT_TYPES, Event

Json: TypeAlias = dict[str, Any]
"""A document whose form is of other people's making."""

ASYNCAPI_VERSION: Final = "3.0.0"
_SCHEMAS: Final = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_PARAMETERS: Final = {
    "channel": "a channel's name, or `origin` for the catalogue",
    "mirror": "a mirror's name, or `origin` for the master's own copy",
    "selector": "a selector's name",
}


def asyncapi_document(*, version: str) -> Json:
    """Give the document; ``version`` is that of the software."""
    _, schemas = msgspec.json.schema_components([Envelope, *EVENT_TYPES], ref_template=_SCHEMAS)
    document: Json = {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Distributary's events",
            "version": version,
            "description": (
                "Written by docs/generate.py; docs/events.md says it in words. Payloads are MessagePack arrays; "
                "the schemas show them as JSON arrays, with base64 for MessagePack's bin."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {},
        "operations": {},
        "components": {"messages": {}, "schemas": {}},
    }
    for kind in EVENT_TYPES:
        document["components"]["messages"][kind.__name__] = _message(kind)
        for address in addresses_of(kind):
            channel_id = _channel_id(kind, address)
            document["channels"][channel_id] = _channel(kind, address)
            document["operations"][f"say{channel_id}"] = _operation(kind, channel_id, address)
    document["components"]["schemas"] = _plain(schemas) | {
        kind.__name__ + "Message": _payload(kind) for kind in EVENT_TYPES
    }
    return document


def _channel_id(kind: type[Event], address: Address) -> str:
    """Name a channel: by its event, and by who says it where several do."""
    role = address.source.partition("/")[0].capitalize()
    return kind.__name__ if len(addresses_of(kind)) == 1 else f"{kind.__name__}By{role}"


def _message(kind: type[Event]) -> Json:
    tag = tag_of_type(kind)
    return {
        "name": tag,
        "title": kind.__name__,
        "summary": doc_of(kind).partition("\n")[0],
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": _SCHEMAS.format(name=kind.__name__ + "Message")},
        "bindings": {"amqp": {"messageType": tag, "bindingVersion": "0.3.0"}},
    }


def _channel(kind: type[Event], address: Address) -> Json:
    channel: Json = {
        "address": address.routing_key,
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": address.exchange, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }
    if parameters := _PARAMETER.findall(address.routing_key):
        channel["parameters"] = {name: {"description": _PARAMETERS[name]} for name in parameters}
    return channel


def _operation(kind: type[Event], channel_id: str, address: Address) -> Json:
    return {
        "action": "send",
        "summary": f"said by {speaker_of(address)}, as source `{address.source}`",
        "channel": {"$ref": f"#/channels/{channel_id}"},
        "messages": [{"$ref": f"#/channels/{channel_id}/messages/{kind.__name__}"}],
    }


def _payload(kind: type[Event]) -> Json:
    """Give the schema of an envelope around this type of event."""
    position = Envelope.__struct_fields__.index("event")
    _, schemas = msgspec.json.schema_components([Envelope], ref_template=_SCHEMAS)
    envelope = cast("Json", _plain(schemas)["Envelope"])
    envelope["prefixItems"][position] = {"$ref": _SCHEMAS.format(name=kind.__name__)}
    return envelope


def _plain(schemas: object) -> Json:
    """Turn tuples and the like into what JSON has."""
    return cast("Json", msgspec.json.decode(msgspec.json.encode(schemas)))
