"""A client of the image store: python images_client.py ADDRESS pull NAME | list | fetch NAME FOLDER | watch

ADDRESS is unix:PATH or HOST:PORT; with SKERRY_IMAGES_TLS_CERT, _KEY and _CA the connection is mutual TLS.
"""

import os
import sys

import grpc

from skerry.api.events.v1 import events_pb2
from skerry.api.images.v1 import images_pb2 as pb
from skerry.api.images.v1.images_pb2_grpc import ImagesServiceStub

address, command, *names = sys.argv[1:]
key, cert, ca = (os.environ.get(f"SKERRY_IMAGES_TLS_{part}") for part in ("KEY", "CERT", "CA"))
if ca:
    credentials = grpc.ssl_channel_credentials(*(open(path, "rb").read() for path in (ca, key, cert)))
images = ImagesServiceStub(grpc.secure_channel(address, credentials) if ca else grpc.insecure_channel(address))
if command == "pull":
    for step in images.Pull(pb.PullRequest(reference=names[0])):
        print(step.image.id or f"{step.progress.id} {step.progress.status}".strip(), flush=True)
elif command == "list":
    for answer in images.List(pb.ListRequest()):
        print(answer.image.id, *answer.image.repo_tags)
elif command == "fetch":  # layer by layer, as plain tars; after a lost connection it goes on where the file ends
    for layer in images.Get(pb.GetRequest(image=names[0])).image.layers:
        with open(os.path.join(names[1], f"{layer.diff_id[7:]}.tar"), "ab") as tar:
            for piece in images.FetchLayer(pb.FetchLayerRequest(diff_id=layer.diff_id, offset=tar.tell())):
                tar.write(piece.chunk)
elif command == "watch":
    for answer in images.Subscribe(pb.SubscribeRequest(subscription=events_pb2.SubscribeRequest(since_ns=1))):
        print(answer.item.event.action or "-- now --", answer.item.event.actor_id, flush=True)
