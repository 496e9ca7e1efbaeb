"""Events as Docker's JSON, and which of them a client wants."""

from typing import Any

from skerry.api.events.v1 import events_pb2 as pb
from skerry.gateway.filters import Filters
from skerry.gateway.versions import NO_LEGACY_EVENT_FIELDS, Version


def event(value: pb.Event, version: Version) -> dict[str, Any]:
    """Returns one event."""
    document: dict[str, Any] = {}
    if version < NO_LEGACY_EVENT_FIELDS and value.type in {"container", "image"}:
        document["status"] = value.action
        if value.actor_id:
            document["id"] = value.actor_id
        if value.type == "container" and value.attributes.get("image"):
            document["from"] = value.attributes["image"]
    return document | {
        "Type": value.type,
        "Action": value.action,
        "Actor": {"ID": value.actor_id, "Attributes": dict(value.attributes)},
        "scope": value.scope or "local",
        "time": value.time_ns // 10**9,
        "timeNano": value.time_ns,
    }


def wanted(value: pb.Event, filters: Filters) -> bool:
    """Tells whether an event passes. Actions match up to their first ":" too ("exec_create: sh")."""
    return (
        filters.matches("type", [value.type])
        and filters.matches("event", [value.action, value.action.partition(":")[0]])
        and filters.matches("scope", [value.scope or "local"])
        and filters.labels_match(dict(value.attributes))
        and all(_object(value, filters, kind) for kind in ("container", "image", "network", "volume", "daemon"))
        and not any(kind in filters for kind in ("config", "node", "plugin", "secret", "service"))
    )


def _object(value: pb.Event, filters: Filters, kind: str) -> bool:
    if kind not in filters:
        return True
    if kind == "image":
        names = [value.attributes.get("image", "")] if value.type == "container" else []
        if value.type == "image":
            names = [value.actor_id, value.attributes.get("name", "")]
        return filters.matches(kind, [part for name in names for part in (name, name.partition("@")[0].rpartition(":")[0] or name)])
    if value.type != kind:
        return False
    name = value.attributes.get("name", "")
    return any(want == name or (want and value.actor_id.startswith(want)) for want in filters.get(kind))
