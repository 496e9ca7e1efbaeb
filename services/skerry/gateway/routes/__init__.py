"""Docker's endpoints, one file per noun; ALL is what the router knows."""

from skerry.gateway.call import Route
from skerry.gateway.routes import attach, build, containers, events, execs, images, listing, logs, networks, system, transfer, wait

ALL: list[Route] = [
    *system.ROUTES,
    *events.ROUTES,
    *listing.ROUTES,
    *containers.ROUTES,
    *attach.ROUTES,
    *wait.ROUTES,
    *logs.ROUTES,
    *execs.ROUTES,
    *build.ROUTES,
    *transfer.ROUTES,
    *images.ROUTES,
    *networks.ROUTES,
]
