import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import InvalidArgument
from skerry.images.reference import could_be_id, parse


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox:x", "docker.io/library/busybox:x", "busybox:x"),
        ("user/image", "docker.io/user/image", "user/image"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/image", "localhost/image", "localhost/image"),
        ("127.0.0.1:5000/image:tag", "127.0.0.1:5000/image:tag", "127.0.0.1:5000/image:tag"),
        ("Host/image", "Host/image", "Host/image"),
        ("a.b/c_d/e--f", "a.b/c_d/e--f", "a.b/c_d/e--f"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x@sha256:" + "a" * 64, "x@sha256:" + "a" * 64),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
    ],
)
def test_names_are_normalised_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = parse(text)
    written = reference.repository + (f":{reference.tag}" if reference.tag else "") + (f"@{reference.digest}" if reference.digest else "")
    assert (written, reference.familiar) == (full, familiar)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("x:", "invalid reference format"),
        ("x:-tag", "invalid reference format"),
        ("x@sha256:12", "invalid reference format"),
        ("x@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("-x", "invalid reference format"),
        ("x__y___z", "invalid reference format"),
        ("../x", "invalid reference format"),
        ("x/../y", "invalid reference format"),
        ("x y", "invalid reference format"),
        ("x\n", "invalid reference format"),
        ("x:t\n", "invalid reference format"),
        ("a/" * 130 + "b", "repository name must not be more than 255 characters"),
    ],
)
def test_bad_names_are_refused_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert str(caught.value) == message


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_reading_again_changes_nothing(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(reference.familiar) == reference


def test_what_may_be_an_id() -> None:
    assert could_be_id("abc123")
    assert could_be_id("sha256:abc123")
    assert not could_be_id("busybox")
    assert not could_be_id("")
    assert not could_be_id("a" * 65)
