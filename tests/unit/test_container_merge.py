"""Image configuration and user's wishes, laid over each other by Docker's rules."""

import json

import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1.images_pb2 import ImageConfig, StringList
from skerry.containers.merge import command_of, merge
from skerry.core.errors import InvalidArgument


def words(*values: str) -> StringList:
    return StringList(values=values)


IMAGE = ImageConfig(entrypoint=words("/ep"), cmd=words("a", "b"))


@pytest.mark.parametrize(
    ("spec", "image", "wanted"),
    [
        (pb.ContainerSpec(), IMAGE, ["/ep", "a", "b"]),
        (pb.ContainerSpec(cmd=words("x")), IMAGE, ["/ep", "x"]),
        (pb.ContainerSpec(entrypoint=words("/mine")), IMAGE, ["/mine"]),
        (pb.ContainerSpec(entrypoint=words("/mine"), cmd=words("x")), IMAGE, ["/mine", "x"]),
        (pb.ContainerSpec(entrypoint=words(), cmd=words("x")), IMAGE, ["x"]),
        (pb.ContainerSpec(entrypoint=words(""), cmd=words("x")), IMAGE, ["x"]),
        (pb.ContainerSpec(cmd=words("x")), ImageConfig(), ["x"]),
    ],
)
def test_a_given_entrypoint_drops_the_images_cmd(spec: pb.ContainerSpec, image: ImageConfig, wanted: list[str]) -> None:
    assert command_of(merge(spec, image)) == wanted


@pytest.mark.parametrize("spec", [pb.ContainerSpec(), pb.ContainerSpec(entrypoint=words(""))])
def test_no_command_at_all_is_refused(spec: pb.ContainerSpec) -> None:
    with pytest.raises(InvalidArgument, match=r"^No command specified$"):
        merge(spec, ImageConfig())


def test_the_users_variables_win_and_come_first() -> None:
    merged = merge(pb.ContainerSpec(cmd=words("x"), env=["A=1", "GONE"]), ImageConfig(env=["A=0", "GONE=yes", "B=2"]))
    assert list(merged.env) == ["A=1", "GONE", "B=2"]


def test_labels_ports_volumes_are_united() -> None:
    spec = pb.ContainerSpec(cmd=words("x"), labels={"a": "mine"}, exposed_ports=["80/tcp"], volumes=["/v"])
    image = ImageConfig(labels={"a": "theirs", "b": "2"}, exposed_ports=["80/tcp", "443/tcp"], volumes=["/data"])
    merged = merge(spec, image)
    assert dict(merged.labels) == {"a": "mine", "b": "2"}
    assert list(merged.exposed_ports) == ["80/tcp", "443/tcp"] and list(merged.volumes) == ["/v", "/data"]


def test_user_workdir_and_stop_signal_come_from_the_image_unless_given() -> None:
    image = ImageConfig(user="nobody", working_dir="/w", stop_signal="SIGINT", cmd=words("x"))
    merged = merge(pb.ContainerSpec(), image)
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("nobody", "/w", "SIGINT")
    merged = merge(pb.ContainerSpec(user="1", working_dir="/mine", stop_signal="9"), image)
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("1", "/mine", "9")


def test_a_partial_healthcheck_is_completed_by_the_images() -> None:
    image = ImageConfig(cmd=words("x"), healthcheck_json='{"Test":["CMD","t"],"Interval":5,"Retries":3}')
    merged = merge(pb.ContainerSpec(healthcheck_json='{"Interval":9}'), image)
    assert json.loads(merged.healthcheck_json) == {"Test": ["CMD", "t"], "Interval": 9, "Retries": 3}


def test_a_broken_healthcheck_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="healthcheck"):
        merge(pb.ContainerSpec(healthcheck_json="["), ImageConfig(cmd=words("x"), healthcheck_json="{}"))
