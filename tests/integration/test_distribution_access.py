"""Who may do what with /v2/, by passwords and by tokens, over TLS."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import make
from integration.distribution_kit import ADDRESS, Client, Served, artifact, digest_of, served
from integration.netns import namespace

pytestmark = pytest.mark.root
USERS = {"admin": ("a-pass", ""), "reader": ("r-pass", "pull=*"), "team": ("t-pass", "pull=* push=team/*")}


def user(folder: Path, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `skerry images user`."""
    argv = [sys.executable, "-m", "skerry.cli", "images", "user", *arguments, "--file", str(folder / "users")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(argv, input=f"{password}\n", env=environ, capture_output=True, text=True, check=False, timeout=30)


def make_users(folder: Path) -> str:
    for name, (password, rights) in USERS.items():
        added = user(folder, "add", name, "--rights", rights, "--password-stdin", password=password)
        assert added.returncode == 0, added.stderr
    return str(folder / "users")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("d")
    with served(folder, distribution_users=make_users(folder), distribution_anonymous="pull") as one:
        client = by(one, "admin")
        for name in ("team/app", "other"):
            assert client.push_manifest(name, "1", artifact(client, name, name)).status == 201
        yield one


def by(store: Served, name: str) -> Client:
    return Client(store.inside, user=name, password=USERS[name][0])


def token(store: Served, scope: str, name: str = "") -> dict[str, Any]:
    client = by(store, name) if name else store.client
    answer = client("GET", f"/token?service=skerry&{scope}")
    assert answer.status == 200, answer.body
    return dict(answer.json())


def holder(store: Served, scope: str, name: str = "") -> Client:
    return Client(store.inside, token=token(store, scope, name)["token"])


def test_the_challenge_says_where_a_token_is_had(store: Served) -> None:
    answer = store.client("GET", "/v2/")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="http://{ADDRESS}/token",service="skerry"'
    answer = store.client("POST", "/v2/team/app/blobs/uploads/", b"")
    assert answer.headers["WWW-Authenticate"].endswith(',scope="repository:team/app:pull,push"')


def test_passwords_are_taken_at_once(store: Served) -> None:
    assert by(store, "reader")("GET", "/v2/").status == 200
    for client in (Client(store.inside, user="reader", password="wrong"), Client(store.inside, user="nobody", password="r-pass")):
        for path in ("/v2/", "/v2/other/manifests/1", "/token"):
            assert client("GET", path).status == 401


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !", "Basic " + base64.b64encode(b"\xff:x").decode(), "Bearer", "Bearer a.b.c", "Bearer é"]
)
def test_nonsense_instead_of_credentials(store: Served, header: str) -> None:
    assert store.client("GET", "/v2/other/manifests/1", Authorization=header).status == 401


def test_rights_are_kept_to(store: Served) -> None:
    reader, team, admin = (by(store, name) for name in ("reader", "team", "admin"))
    for client in (reader, team, admin, store.client):
        assert client("GET", "/v2/other/manifests/1").status == 200
    for client, path in ((reader, "team/app"), (team, "other"), (team, "docker.io/other"), (team, "library/other")):
        answer = client("POST", f"/v2/{path}/blobs/uploads/", b"")
        assert (answer.status, answer.code) == (403, "DENIED")
    assert store.client("POST", "/v2/other/blobs/uploads/", b"").status == 401
    for path in ("team/new", "docker.io/team/new"):
        begun = team("POST", f"/v2/{path}/blobs/uploads/", b"")
        assert begun.status == 202
        assert team("DELETE", begun.headers["Location"]).status == 204
    for client in (reader, team):
        assert client("DELETE", "/v2/team/app/manifests/1").status == 403
    data = b"to be deleted"
    digest = admin.push_blob("team/app", data)
    assert admin("DELETE", f"/v2/team/app/blobs/{digest}").status == 202


def test_a_token_allows_what_it_names_and_the_user_may(store: Served) -> None:
    team = holder(store, "scope=repository:team/app:pull,push", "team")
    assert team("GET", "/v2/team/app/manifests/1").status == 200
    assert team.push_blob("team/app", b"by token")
    answer = team("GET", "/v2/other/manifests/1")
    assert (answer.status, 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]) == (401, True)
    assert team("DELETE", "/v2/team/app/manifests/1").status == 401
    greedy = holder(store, "scope=repository:other:pull,push,delete&scope=repository:team/app:*", "reader")
    assert greedy("GET", "/v2/other/manifests/1").status == 200
    assert greedy("POST", "/v2/other/blobs/uploads/", b"").status == 401
    assert greedy("POST", "/v2/team/app/blobs/uploads/", b"").status == 401
    anonymous = holder(store, "scope=repository:other:pull,push")
    assert anonymous("GET", "/v2/other/manifests/1").status == 200
    assert anonymous("POST", "/v2/other/blobs/uploads/", b"").status == 401


def test_a_token_that_was_changed_is_none(store: Served) -> None:
    good = token(store, "scope=repository:other:pull", "reader")["token"]
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "admin"}).encode()).decode().rstrip("=")
    nothing = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for bad in (f"{head}.{forged}.{signature}", f"{nothing}.{body}.", f"{head}.{body}", f"{head}.{body}.{signature[:-2]}AA"):
        assert Client(store.inside, token=bad)("GET", "/v2/other/manifests/1").status == 401


def test_a_refresh_token_is_good_until_the_password_changes(store: Served) -> None:
    assert user(store.folder, "add", "passing", "--rights", "pull=other", password="first").returncode == 0
    client = Client(store.inside, user="passing", password="first")
    refresh = client("GET", "/token?service=skerry&offline_token=true").json()["refresh_token"]
    form = f"grant_type=refresh_token&service=skerry&refresh_token={refresh}&scope=repository:other:pull".encode()
    kind = "application/x-www-form-urlencoded"
    answer = store.client("POST", "/token", form, Content_Type=kind)
    assert answer.status == 200
    assert Client(store.inside, token=answer.json()["access_token"])("GET", "/v2/other/manifests/1").status == 200
    # A refresh token is no access token.
    assert Client(store.inside, token=refresh)("GET", "/v2/other/manifests/1").status == 401
    assert user(store.folder, "add", "passing", password="second").returncode == 0
    assert store.client("POST", "/token", form, Content_Type=kind).status == 401
    assert client("GET", "/v2/").status == 401
    assert user(store.folder, "remove", "passing").returncode == 0
    assert user(store.folder, "remove", "passing").returncode == 1
    assert Client(store.inside, token=answer.json()["access_token"])("GET", "/v2/other/manifests/1").status == 401


def test_a_password_by_form(store: Served) -> None:
    form = b"grant_type=password&username=team&password=t-pass&scope=repository:team/app:push&service=skerry"
    answer = store.client("POST", "/token", form, Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 200
    assert Client(store.inside, token=answer.json()["access_token"]).push_blob("team/app", b"x")
    assert store.client("POST", "/token", form.replace(b"t-pass", b"x"), Content_Type="application/x-www-form-urlencoded").status == 401


def test_a_blob_is_mounted_only_from_where_it_may_be_read(store: Served) -> None:
    assert user(store.folder, "add", "narrow", "--rights", "push=narrow/*", password="n").returncode == 0
    data = b"secret"
    digest = by(store, "admin").push_blob("secret", data)
    narrow = Client(store.inside, user="narrow", password="n")
    assert narrow("GET", f"/v2/secret/blobs/{digest}").status == 403
    for query in (f"mount={digest}&from=secret", f"mount={digest}"):
        answer = narrow("POST", f"/v2/narrow/x/blobs/uploads/?{query}", b"")
        assert answer.status == 202
        assert narrow("DELETE", answer.headers["Location"]).status == 204
    assert narrow("GET", "/v2/_catalog").json()["repositories"] == []
    assert "other" in by(store, "reader")("GET", "/v2/_catalog").json()["repositories"]


def test_the_catalog_wants_a_token_for_it(store: Served) -> None:
    assert holder(store, "scope=repository:other:pull", "reader")("GET", "/v2/_catalog").status == 401
    assert "other" in holder(store, "scope=registry:catalog:*", "reader")("GET", "/v2/_catalog").json()["repositories"]


def test_a_known_password_is_not_computed_again(store: Served) -> None:
    client = by(store, "reader")
    client("GET", "/v2/")
    begin = time.monotonic()
    for _ in range(20):
        assert client("GET", "/v2/").status == 200
    assert time.monotonic() - begin < 1.0


def test_read_only_for_everybody(tmp_path: Path) -> None:
    with served(tmp_path, distribution_anonymous="pull") as one:
        assert one.client("GET", "/v2/").status == 200
        answer = one.client("POST", "/v2/x/blobs/uploads/", b"")
        assert (answer.status, answer.code) == (403, "DENIED")


def test_tls_and_a_challenge_for_passwords(tmp_path: Path) -> None:
    tls = make(tmp_path / "tls", "registry")
    settings = {"distribution_tls_cert": tls.cert, "distribution_tls_key": tls.key, "distribution_challenge": "basic"}
    with served(tmp_path, distribution_users=make_users(tmp_path), **settings) as one:
        answer = Client(one.inside, ca=tls.ca)("GET", "/v2/")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="skerry"')
        client = Client(one.inside, ca=tls.ca, user="admin", password="a-pass")
        client.push_blob("a", b"over TLS")
        assert client("GET", f"/v2/a/blobs/{digest_of(b'over TLS')}").body == b"over TLS"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nobody could use"),
        ({"distribution_listen": "203.0.113.9:5050", "distribution_anonymous": "pull"}, "without TLS"),
        ({"distribution_listen": "nonsense", "distribution_anonymous": "pull"}, "want HOST:PORT"),
        ({"distribution_anonymous": "pull", "distribution_tls_cert": "/nonexistent"}, "together"),
        ({"distribution_anonymous": "pull", "distribution_tls_cert": "/nonexistent", "distribution_tls_key": "/nonexistent"}, "cannot use"),
        ({"distribution_users": "/nonexistent"}, "cannot read the users' file"),
        ({"distribution_anonymous": "pull", "distribution_upstreams": "docker.io=ftp://x"}, "want DOMAIN"),
    ],
)
def test_settings_that_cannot_be_are_said_at_the_start(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SKERRY_ROOT": str(tmp_path), "SKERRY_RUN": str(tmp_path)}
    environ |= {f"SKERRY_IMAGES_{key.upper()}": value for key, value in {"distribution_listen": ADDRESS, **settings}.items()}
    with namespace("dist") as inside:
        ended = subprocess.run(
            inside.argv(sys.executable, "-m", "skerry.images"), env=environ, capture_output=True, text=True, timeout=20, check=False
        )
    assert ended.returncode == 1
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
