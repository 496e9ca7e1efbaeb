"""The tutorial's section 2.3: making images of containers, their layers and history, removing, saving and carrying them.

apt and npm need Debian's and npm's servers; a file of the same size class is written in their place.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import PROJECT, Engine
from images.tutorial import NAMES, cached

from .commands import NOTES
from .registry import Registry
from .terminal import terminal

pytestmark = pytest.mark.timeout(600)
UBUNTU = "ubuntu:24.04"
PROMPT = r"root@[0-9a-f]{12}:/# "
_NOT_RUN = {
    "2.3 docker search nginx": "asks Docker Hub itself; test_push has the same lines against an index host",
    "2.3.1 apt and npm install within a container": "needs their servers; files are written instead",
}


@pytest.fixture(scope="module", autouse=True)
def _images(hub: Registry) -> Iterator[None]:
    archive = cached(str(PROJECT / ".cache/images"))
    for image in NAMES:
        hub.push(archive, f"library/{image}", image)
    NOTES.extend(f"tutorial, not run: {line}: {reason}" for line, reason in _NOT_RUN.items())
    yield


@pytest.fixture(autouse=True)
def _clean(engine: Engine) -> Iterator[None]:
    yield
    engine.docker("rm", "-f", *engine.out("ps", "-aq").split(), check=False)
    for repository in ("test_commit", "my-custom", "myapp", "my-nginx", "my-app", "my-new-image"):
        engine.docker("rmi", "-f", *engine.out("images", "-q", repository).split(), check=False)
    engine.docker("image", "prune", "-f")


def _shell(engine: Engine, line: str, folder: Path | None = None) -> str:
    """Runs a line of the tutorial as it stands."""
    return subprocess.run(
        ["sh", "-ec", line], env=engine.environ(), check=True, capture_output=True, text=True, timeout=60, cwd=folder
    ).stdout


def _layers(engine: Engine, image: str) -> list[str]:
    layers: list[str] = json.loads(engine.out("inspect", image))[0]["RootFS"]["Layers"]
    return layers


def _made(engine: Engine, name: str, image: str, script: str) -> None:
    """Does what the text does by hand in `docker run -it --name NAME IMAGE`."""
    with terminal(["docker", "run", "-it", "--name", name, image], engine.environ()) as screen:
        screen.expect(PROMPT, 60)
        screen.run(f"{script} && echo do''ne", "done")
        screen.type("exit\n")
        screen.wait()


def _two_versions(engine: Engine) -> None:
    _made(engine, "step1", UBUNTU, "head -c 100000 /dev/urandom > /first")
    _shell(engine, "docker commit step1 test_commit:A")
    _made(engine, "step2", "test_commit:A", "head -c 500000 /dev/urandom > /second")
    _shell(engine, "docker commit step2 test_commit:B")


def test_2_3_1_commit_with_author_and_message(engine: Engine) -> None:
    _made(engine, "my-ubuntu", UBUNTU, 'echo "Custom configuration" > /etc/myapp.conf')
    said = _shell(engine, 'docker commit -a "developer@company.com" -m "Added development tools" my-ubuntu my-custom:v1.0')
    assert re.fullmatch("sha256:[0-9a-f]{64}\n", said)
    shown = json.loads(engine.out("inspect", "my-custom:v1.0"))[0]
    assert (shown["Id"], shown["Author"], shown["Comment"]) == (said.strip(), "developer@company.com", "Added development tools")
    assert engine.out("run", "--rm", "my-custom:v1.0", "cat", "/etc/myapp.conf") == "Custom configuration"


def test_2_3_1_a_running_container_can_be_committed_paused_or_not(engine: Engine) -> None:
    _shell(engine, "docker run -d --name web-container nginx")
    _shell(engine, "docker commit -p web-container myapp:dev")
    _shell(engine, "docker commit --pause=false web-container myapp:staging")
    assert engine.out("inspect", "-f", "{{.State.Status}}", "web-container") == "running"
    assert engine.out("images", "-q", "myapp").count("\n") == 1


def test_2_3_1_commit_with_dockerfile_commands(engine: Engine) -> None:
    _shell(engine, "docker run -d --name web-container nginx")
    _shell(engine, """docker commit -c "EXPOSE 80" -c "CMD ['nginx', '-g', 'daemon off;']" web-container my-nginx:custom""")
    config = json.loads(engine.out("inspect", "my-nginx:custom"))[0]["Config"]
    # Single quotes are no JSON: the text's line makes a shell command of it, in Docker too.
    assert config["Cmd"] == ["/bin/sh", "-c", "['nginx', '-g', 'daemon off;']"]
    assert "80/tcp" in config["ExposedPorts"]
    _shell(engine, 'docker commit -c "WORKDIR /app" -c "ENV NODE_ENV=production" web-container my-app:prod')
    assert engine.out("run", "--rm", "my-app:prod", "sh", "-c", "pwd; echo $NODE_ENV") == "/app\nproduction"


def test_2_3_1_tags(engine: Engine) -> None:
    _shell(engine, f"docker run --name my-container {UBUNTU} touch /mine")
    for tag in ("v1.0.0", "v1.0.1", "$(date +%Y%m%d)"):
        _shell(engine, f"docker commit my-container myapp:{tag}")
    _shell(engine, "docker tag myapp:v1.0.0 myapp:latest; docker tag myapp:v1.0.0 myapp:stable")
    listed = dict(line.split() for line in _shell(engine, "docker images --format '{{.Tag}} {{.ID}}' myapp").splitlines())
    assert len(listed) == 5
    assert listed["latest"] == listed["stable"] == listed["v1.0.0"] != listed["v1.0.1"]


def test_2_3_2_each_commit_adds_one_layer_and_shares_those_below(engine: Engine) -> None:
    _two_versions(engine)
    base, first, second = (_layers(engine, image) for image in (UBUNTU, "test_commit:A", "test_commit:B"))
    assert first[:-1] == base and second[:-1] == first and len(second) == len(base) + 2
    sizes = [json.loads(engine.out("inspect", image))[0]["Size"] for image in (UBUNTU, "test_commit:A", "test_commit:B")]
    assert 100_000 <= sizes[1] - sizes[0] < 200_000 and 500_000 <= sizes[2] - sizes[1] < 600_000


def test_2_3_2_history(engine: Engine) -> None:
    _two_versions(engine)
    ids = _shell(engine, "docker history -q test_commit:B").split()
    assert ids[:2] == [engine.out("images", "-q", "test_commit:B"), engine.out("images", "-q", "test_commit:A")]
    whole = _shell(engine, "docker history --no-trunc test_commit:B").splitlines()
    assert whole[0].split()[:3] == ["IMAGE", "CREATED", "CREATED"] and "/bin/bash" in whole[1]
    table = _shell(engine, 'docker history --format "table {{.ID}}\\t{{.CreatedBy}}\\t{{.Size}}" test_commit:B').splitlines()
    assert re.split(r"\s{2,}", table[0].strip()) == ["IMAGE", "CREATED BY", "SIZE"]
    # Skerry counts the layer's tar with its headers, dockerd the files alone.
    assert re.fullmatch("50[0-9]kB", table[1].split()[-1]) and re.fullmatch("10[0-9]kB", table[2].split()[-1])
    sizes = _shell(engine, "docker history -H=false --format '{{.Size}}' test_commit:B").split()
    assert 500_000 <= int(sizes[0]) < 600_000


def test_2_3_2_an_image_in_use_is_not_removed(engine: Engine) -> None:
    _two_versions(engine)
    refused = engine.docker("rmi", "test_commit:A", check=False)
    assert refused.returncode == 1 and "conflict: unable to remove repository reference" in refused.stderr
    engine.docker("rm", "step2")
    assert "Untagged: test_commit:A" in _shell(engine, "docker rmi test_commit:A")
    said = _shell(engine, "docker rmi test_commit:B").splitlines()
    # A was only a tag: it goes with B, which was made of it.
    assert said[0] == "Untagged: test_commit:B" and sum(line.startswith("Deleted: ") for line in said) >= 2


def test_2_3_2_forced_removal_leaves_a_dangling_image(engine: Engine) -> None:
    _shell(engine, f"docker run --name my-container {UBUNTU} touch /mine; docker commit my-container myapp:v1; docker rm my-container")
    _shell(engine, "docker run -d --name my-container myapp:v1 sleep 100")
    assert engine.docker("rmi", "myapp:v1", check=False).returncode == 1
    _shell(engine, "docker rmi -f myapp:v1")
    listed = _shell(engine, "docker images -f dangling=true --format '{{.Repository}} {{.Tag}} {{.ID}}'").split()
    assert listed[:2] == ["<none>", "<none>"]
    asked = subprocess.run(["docker", "image", "prune"], env=engine.environ(), input=b"y\n", capture_output=True, check=True, timeout=60)
    assert b"Total reclaimed space: 0B" in asked.stdout  # a container still uses it
    _shell(engine, "docker rm -f my-container")
    assert "deleted: sha256:" in _shell(engine, "docker image prune -f")
    assert engine.out("images", "-q", "-f", "dangling=true") == ""


def test_2_3_2_prune_by_age_and_of_all_unused(engine: Engine) -> None:
    _shell(engine, f"docker run --name my-container {UBUNTU} touch /mine; docker commit my-container myapp:v1")
    assert "Total reclaimed space: 0B" in _shell(engine, 'docker image prune -f --filter "until=72h"')
    _shell(engine, f"docker pull {UBUNTU}; docker pull nginx")
    said = _shell(engine, "docker image prune -a -f")
    assert "myapp:v1" in said and "nginx:latest" in said
    # my-container was made of it.
    assert engine.out("images", "-q", UBUNTU) != ""
    engine.docker("pull", "-q", "busybox", check=False)


def test_2_3_3_save_and_load_bring_back_the_same_image(engine: Engine, tmp_path: Path) -> None:
    _two_versions(engine)
    before = {tag: json.loads(engine.out("inspect", f"test_commit:{tag}"))[0] for tag in "AB"}
    history = engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Size}}", "test_commit:B")
    _shell(engine, "docker save -o test-images.tar test_commit:A test_commit:B", tmp_path)
    _shell(engine, "docker rm step1 step2; docker rmi test_commit:A test_commit:B")
    said = _shell(engine, "docker load -i test-images.tar", tmp_path)
    assert "Loaded image: test_commit:A" in said and "Loaded image: test_commit:B" in said
    for tag, was in before.items():
        now = json.loads(engine.out("inspect", f"test_commit:{tag}"))[0]
        assert [now[key] for key in ("Id", "RootFS", "Config", "Created", "Size")] == [
            was[key] for key in ("Id", "RootFS", "Config", "Created", "Size")
        ]
    assert engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Size}}", "test_commit:B") == history


def test_2_3_3_save_of_several_gzip_and_standard_input(engine: Engine, tmp_path: Path) -> None:
    _shell(engine, f"docker pull {UBUNTU}; docker pull nginx")
    _shell(engine, f"docker save -o my-images.tar {UBUNTU} nginx:latest; docker save {UBUNTU} | gzip > ubuntu-24.04.tar.gz", tmp_path)
    identity = engine.out("images", "-q", UBUNTU)
    _shell(engine, f"docker rmi {UBUNTU} nginx")
    assert f"Loaded image: {UBUNTU}" in _shell(engine, "gunzip -c ubuntu-24.04.tar.gz | docker load", tmp_path)
    assert "Loaded image: nginx:latest" in _shell(engine, "cat my-images.tar | docker load", tmp_path)
    assert engine.out("images", "-q", UBUNTU) == identity


def test_2_3_3_export_and_import_keep_files_and_lose_the_rest(engine: Engine, tmp_path: Path) -> None:
    _shell(engine, "docker run --name my-container -d nginx; docker exec my-container sh -c 'echo kept > /kept'")
    _shell(engine, "docker export my-container > container-filesystem.tar", tmp_path)
    _shell(engine, "docker export -o again.tar my-container", tmp_path)
    _shell(engine, "cat container-filesystem.tar | docker import - my-new-image:latest", tmp_path)
    assert engine.out("run", "--rm", "my-new-image", "cat", "/kept") == "kept"
    shown = json.loads(engine.out("inspect", "my-new-image:latest"))[0]
    assert len(shown["RootFS"]["Layers"]) == 1 and not shown["Config"].get("Cmd") and not shown["Config"].get("ExposedPorts")
    _shell(engine, 'docker import --change "ENV DEBUG=true" --change "EXPOSE 8080" container-filesystem.tar my-app:v1.0', tmp_path)
    config = json.loads(engine.out("inspect", "my-app:v1.0"))[0]["Config"]
    assert "DEBUG=true" in config["Env"] and "8080/tcp" in config["ExposedPorts"]
