"""Docker's endpoints, one file per noun; ALL is what the router knows."""

from skerry.gateway.call import Route
from skerry.gateway.routes import (
    archive,
    attach,
    build,
    commit,
    containers,
    events,
    execs,
    images,
    intake,
    listing,
    logs,
    networks,
    registries,
    save,
    system,
    transfer,
    usage,
    wait,
)

ALL: list[Route] = [
    *system.ROUTES,
    *usage.ROUTES,
    *events.ROUTES,
    *listing.ROUTES,
    *containers.ROUTES,
    *commit.ROUTES,
    *attach.ROUTES,
    *archive.ROUTES,
    *wait.ROUTES,
    *logs.ROUTES,
    *execs.ROUTES,
    *build.ROUTES,
    *transfer.ROUTES,
    *registries.ROUTES,
    *images.ROUTES,
    *intake.ROUTES,
    *save.ROUTES,
    *networks.ROUTES,
]
