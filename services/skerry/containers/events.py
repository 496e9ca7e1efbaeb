"""Docker's container events: which attributes they carry."""

import time
from collections.abc import Mapping, Sequence

from skerry.api.events.v1 import events_pb2
from skerry.containers.record import Record


def container_event(record: Record, action: str, attributes: Mapping[str, str] | None = None) -> events_pb2.Event:
    """Returns an event with what Docker tells of the container: labels (merged with the image's), image, name, and the action's own."""
    event = events_pb2.Event(time_ns=time.time_ns(), type="container", action=action, actor_id=record.id, scope="local")
    event.attributes.update(record.spec_message().labels)
    event.attributes["image"] = record.image_name
    event.attributes["name"] = record.name
    event.attributes.update(attributes or {})
    return event


def prune_event(reclaimed: int) -> events_pb2.Event:
    """Returns the event of a prune of containers, which is about no container."""
    return events_pb2.Event(
        time_ns=time.time_ns(), type="container", action="prune", scope="local", attributes={"reclaimed": str(reclaimed)}
    )


def exec_action(verb: str, command: Sequence[str]) -> str:
    """Returns the action as Docker writes it: "exec_create: sh -c x", and with a space at the end for a single word."""
    return f"{verb}: {command[0]} {' '.join(command[1:])}"
