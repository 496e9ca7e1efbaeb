"""Docker's endpoints, one file per noun; ALL is what the router knows."""

from skerry.gateway.call import Route
from skerry.gateway.routes import (
    archive,
    attach,
    commit,
    containers,
    events,
    execs,
    images,
    listing,
    logs,
    networks,
    registries,
    save,
    system,
    transfer,
    volumes,
    wait,
)

ALL: list[Route] = [
    *system.ROUTES,
    *events.ROUTES,
    *listing.ROUTES,
    *containers.ROUTES,
    *commit.ROUTES,
    *attach.ROUTES,
    *archive.ROUTES,
    *wait.ROUTES,
    *logs.ROUTES,
    *execs.ROUTES,
    *transfer.ROUTES,
    *registries.ROUTES,
    *images.ROUTES,
    *save.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
]
