"""VHDs to Rackspace: real Swift and Glance, and its import tasks played by their published rules."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.openstack.configuration import SEGMENTS
from tests.openstack.gate import Gate
from tests.openstack.servers import environment
from tests.publish.openstack.conftest import SDK, Build, Cloud, left

pytestmark = [pytest.mark.xdist_group("openstack"), pytest.mark.filterwarnings(*SDK)]
SEGMENT = ("--set", "publish.rackspace.segment=1MiB")


@pytest.fixture
def recipe(hello: Path, tmp_path: Path) -> Path:
    """A recipe whose VHD has three segments."""
    path = tmp_path / "r.toml"
    path.write_text(
        f'kernel = "{hello}"\nname = "app"\ntargets = ["rackspace"]\n[publish.rackspace]\nsegment = "1MiB"\n'
        'patience = 5\n[publish.rackspace.properties]\nteam = "web"\n'
    )
    return path


@pytest.fixture(autouse=True)
def rackspace(gate: Gate, cloud: Cloud) -> Cloud:
    """A cloud that takes import tasks."""
    gate.tasks.enabled = True
    return cloud


def test_an_import(gate: Gate, cloud: Cloud, cli: Cli, build: Build) -> None:
    path = build(target="rackspace")
    said = cli("publish", path)
    assert said.code == 0, said.err
    image = cloud.image.get_image(said.out.strip())
    assert (image.name, image.vm_mode, image.os_type) == ("app", "xen", "linux")
    assert image.has_auto_disk_config in {"false", False}
    assert cloud.image.download_image(image).content == path.read_bytes()
    assert left(cloud) == ([image.id], [])
    again = cli("publish", path)
    assert (again.code, again.out) == (0, said.out), again.err
    assert len(gate.tasks.made) == 1


def test_by_the_profile_of_the_sdk(
    gate: Gate, cloud: Cloud, cli: Cli, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the services otherwise, and wants tasks and VHDs; only where it lies and who we are is ours."""
    names = {name.removeprefix("OS_").lower(): value for name, value in environment(gate.ports).items()}
    region = names.pop("region_name")
    account = {"profile": "rackspace", "identity_api_version": "3", "auth": names, "regions": [region]}
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"rackspace": account}}))
    for name in environment(gate.ports):
        monkeypatch.delenv(name)
    said = cli("publish", build(target="rackspace"), "--target", "rackspace", "--os-cloud", "rackspace")
    assert said.code == 0, said.err
    assert left(cloud) == ([said.out.strip()], [])


def test_segments(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.publish.openstack.shelf._TELL_EVERY", 0.0)
    said = cli("publish", recipe)
    assert "2 of 3 segments are there" in said.err
    assert said.code == 0, said.err
    puts = [call for call in gate.calls if call.startswith("PUT /v1/") and call.count("/") > 3]
    assert len(puts) == 4, "three segments and their manifest"
    assert left(cloud) == ([said.out.strip()], [])
    assert cloud.image.get_image(said.out.strip()).properties["team"] == "web"


def test_no_more_segments_than_a_manifest_may_name(
    gate: Gate, cloud: Cloud, cli: Cli, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(os.urandom(5 << 20))
    recipe.write_text(f'{recipe.read_text()}[[root.files]]\nfrom = "data"\nto = "/data"\n')
    said = cli("publish", recipe)
    assert said.code == 0, said.err
    sent = [call for call in gate.calls if re.match(r"PUT .*/0000000[0-9]$", call)]
    assert 3 <= len(sent) <= SEGMENTS
    assert left(cloud) == ([said.out.strip()], [])


def test_segments_that_are_there_are_not_sent_again(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path) -> None:
    gate.fault("PUT /0000000[12]$ 2-9 403")
    said = cli("publish", recipe, "--keep-on-failure")
    assert said.code == 5
    there = {name.rpartition("/")[2] for name in left(cloud)[1]}
    assert 0 < len(there) < 3
    gate.clear()
    gate.tasks.enabled = True
    said = cli("publish", recipe)
    assert said.code == 0, said.err
    sent = [call.rpartition("/")[2] for call in gate.calls if re.match(r"PUT .*/0000000[0-9]$", call)]
    assert sorted([*sent, *there]) == ["00000000", "00000001", "00000002"], "each of them once"
    assert left(cloud) == ([said.out.strip()], [])


@pytest.mark.parametrize(
    "fault",
    [
        "PUT /v1/ 1 403",
        "PUT /00000001$ 1 413",
        "PUT /00000001$ 1-9 503",
        "PUT /00000001$ 1-9 cut=1000",
        "PUT /00000001$ 1-9 flip",
        "PUT multipart-manifest 1 422",
        "POST /v2/tasks 1 403",
        "GET /v2/tasks/ 1-9 500",
    ],
)
def test_what_fails_leaves_nothing(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path, fault: str) -> None:
    gate.fault(fault)
    said = cli("publish", recipe)
    assert (said.code, said.out) == (5, ""), said.err
    gate.faults = []
    assert left(cloud) == ([], [])


@pytest.mark.parametrize(
    "fault",
    [
        "PUT /00000001$ 1 503",
        "PUT /00000001$ 1 cut=1000",
        "PUT /00000001$ 1 flip",
        "PUT /00000000$ 1 revoke",
        "PUT multipart-manifest 1-2 503",
        "DELETE /v1/ 1-2 reset",
    ],
)
def test_what_passes_is_tried_again(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path, fault: str) -> None:
    gate.fault(fault)
    said = cli("publish", recipe)
    assert said.code == 0, said.err
    assert left(cloud) == ([said.out.strip()], [])


@pytest.mark.parametrize(
    "number,words",
    [
        (523, "neither fixed nor dynamic"),
        (609, "40 GB"),
        (413, "40 GB"),
        (614, "UUID"),
        (721, "parent"),
        (999, "failed"),
    ],
)
def test_numbered_errors(gate: Gate, cloud: Cloud, cli: Cli, build: Build, number: int, words: str) -> None:
    gate.tasks.failures = [number]
    said = cli("publish", build(target="rackspace"))
    assert said.code == 5
    assert words in said.err
    assert str(number) in said.err
    assert left(cloud) == ([], [])


@pytest.mark.usefixtures("cloud")
def test_an_import_that_only_went_wrong(gate: Gate, cli: Cli, build: Build) -> None:
    gate.tasks.failures = [396, 396]
    said = cli("publish", build(target="rackspace"))
    assert said.code == 0, said.err
    assert len(gate.tasks.made) == 3
    gate.tasks.failures = [396, 396, 396]
    said = cli("publish", build(target="rackspace"), "--name", "other")
    assert said.code == 5
    assert "no VHD" in said.err


def test_a_task_that_never_ends(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path) -> None:
    gate.tasks.stuck = True
    said = cli("publish", recipe, "--patience", "1", "--keep-on-failure")
    assert said.code == 5
    assert "does not end" in said.err
    gate.tasks.stuck = False
    again = cli("publish", recipe)
    assert again.code == 0, again.err
    assert len(gate.tasks.made) == 1, "the repeat goes on with the task"
    assert left(cloud) == ([again.out.strip()], [])


def test_what_a_task_makes_after_all_is_swept(gate: Gate, cloud: Cloud, cli: Cli, recipe: Path) -> None:
    """A publication that gave its task up does not know of the image, which has no marks."""
    gate.tasks.stuck = True
    said = cli("publish", recipe, "--patience", "1")
    assert said.code == 5
    assert "left in envvars/RegionOne: task " in said.err
    sweep = ("receipts", "sweep", "--older-than", "0h")
    said = cli(*sweep)
    assert (said.code, said.out, "cannot be ended" in said.err) == (5, "", True), said.err
    gate.tasks.stuck = False
    (task,) = gate.tasks.made.values()
    gate.tasks.end(task, cloud.auth_token)
    assert len(left(cloud)[0]) == 1
    said = cli(*sweep)
    assert said.code == 0, said.err
    assert said.out == f"{task['id']}\n"
    assert left(cloud) == ([], [])


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    "length,disk,words", [(41 * 10**9, 0, "the VHD is larger"), (0, 161 * 10**9, "the disk is larger")]
)
def test_what_rackspace_does_not_take_is_not_sent(
    gate: Gate, cli: Cli, build: Build, length: int, disk: int, words: str
) -> None:
    path = build(target="rackspace")
    if length:
        os.truncate(path, length)
    sidecar = path.with_name(f"{path.name}.imagekit.json")
    said = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**said, "length": disk or said["length"]}))
    told = cli("publish", path)
    assert (told.code, words in told.err) == (5, True), told.err
    assert gate.calls == []


def test_a_cloud_without_import_tasks(gate: Gate, cli: Cli, build: Build) -> None:
    gate.tasks.enabled = False
    said = cli("publish", build(target="rackspace"))
    assert said.code == 5
    assert "--target openstack" in said.err
    assert not any(call.startswith("PUT") for call in gate.calls)


def test_destroy(gate: Gate, cloud: Cloud, cli: Cli, build: Build) -> None:
    path = build(target="rackspace")
    said = cli("publish", path)
    assert said.code == 0, said.err
    (receipt,) = json.loads(cli("receipts", "ls", "--json").out)["receipts"]
    assert (receipt["state"], receipt["target"]) == ("published", "rackspace")
    assert cli("receipts", "destroy", receipt["id"]).code == 0
    assert left(cloud) == ([], [])
    again = cli("publish", path)
    assert again.code == 0, again.err
    assert len(gate.tasks.made) == 2, "the first task's image is gone"
    assert left(cloud) == ([again.out.strip()], [])
