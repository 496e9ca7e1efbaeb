"""The classic builder: `DOCKER_BUILDKIT=0 docker build`.

dockerfile.py cuts a Dockerfile into lines, instructions.py types them; expansion.py and args.py are the variables; context.py, sources.py
and remote.py know what COPY and ADD may read; builder.py walks the stages and dispatch.py runs one instruction. Who is asked for what:
the cache and every image are the image store's, RUN and COPY are the node's, names of networks the network manager's. Rules and texts are
those of dockerd 20.10, checked against it by tests/conformance/test_build.py.
"""
