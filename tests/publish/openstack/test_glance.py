"""Images to a real Glance: what arrives, what is refused, and what is left after an error."""

import json
from dataclasses import replace
from pathlib import Path
from threading import Event

import openstack
import pytest

from imagekit.command import run
from imagekit.errors import KernelError
from imagekit.publish.course import Course
from imagekit.publish.openstack.cloud import RefusedError
from imagekit.publish.openstack.cloud import cloud as connected
from imagekit.publish.openstack.glance import Images, body_of
from imagekit.publish.openstack.hypervisor import check
from tests.cli.conftest import Cli, script
from tests.cli.test_prove import prove
from tests.openstack.gate import Gate
from tests.openstack.neutron import NETWORK
from tests.openstack.servers import REGIONS, environment
from tests.publish.openstack.conftest import SDK, Build, Cloud, left

__all__ = ["prove", "script"]

pytestmark = [pytest.mark.xdist_group("openstack"), pytest.mark.filterwarnings(*SDK)]
MIB = 1 << 20


@pytest.mark.parametrize("method", ["direct", "staged", "web-download"])
@pytest.mark.parametrize("kind,name", [("vhd", "app.vhd"), ("ovf", "app.tgz"), ("raw", "app.raw")])
def test_an_image_arrives(cloud: Cloud, cli: Cli, build: Build, method: str, kind: str, name: str) -> None:
    path = build(f"openstack.format={kind}", name=name)
    said = cli("publish", path, "--method", method)
    assert said.code == 0, said.err
    (image,) = cloud.image.images(owner=cloud.current_project_id)
    assert said.out == f"{image.id}\n"
    expected = {"vhd": ("vhd", "bare"), "ovf": ("vhd", "ovf"), "raw": ("raw", "bare")}[kind]
    assert (image.disk_format, image.container_format) == expected
    assert (image.vm_mode, image.hypervisor_type, image.os_type) == ("xen", "xen", "linux")
    assert (image.name, image.visibility, image.min_disk, image.min_ram) == ("app", "private", 1, 64)
    assert cloud.image.download_image(image).content == path.read_bytes()
    assert left(cloud)[1] == [], "what only was on its way is gone"


@pytest.mark.usefixtures("cloud")
def test_a_long_upload_is_told(cli: Cli, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.publish.openstack.body._TELL_EVERY", 0.0)
    said = cli("publish", build("openstack.format=raw", "disk.size=4MiB", name="app.raw"))
    assert said.code == 0, said.err
    assert "RegionOne: 2 of 4 MiB sent\n" in said.err


def test_again_is_the_same_image(cloud: Cloud, gate: Gate, cli: Cli, build: Build, tmp_path: Path) -> None:
    path = build()
    first = cli("publish", path)
    gate.received = 0
    again = cli("publish", path)
    assert (again.code, again.out) == (0, first.out)
    assert gate.received < 10_000
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    other = cli("publish", path)  # from another machine
    assert (other.code, other.out) == (0, first.out)
    assert len(left(cloud)[0]) == 1
    (receipt,) = json.loads(cli("receipts", "ls", "--json").out)["receipts"]
    assert not any(one["ours"] for one in receipt["resources"])
    (tmp_path / "state").rename(tmp_path / "second")
    (tmp_path / "elsewhere").rename(tmp_path / "state")
    gone = cli("receipts", "destroy", first.out.strip())
    assert (gone.code, gone.out) == (0, first.out)
    assert left(cloud) == ([], [])


def test_an_error_in_one_region_hides_no_other(
    cloud: Cloud, gate: Gate, cli: Cli, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build()
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    names = {name.removeprefix("OS_").lower(): value for name, value in environment(gate.ports).items()}
    del names["region_name"]
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"here": {"auth": names, "regions": REGIONS}}}))
    both = ("--os-cloud", "here", "--region", "RegionOne", "--region", "RegionTwo")
    gate.fault("PUT /file$ 1 403")
    said = cli("publish", path, *both)
    assert said.code == 5
    assert left(cloud) == ([said.out.strip()], [])
    assert f"here/RegionTwo: {said.out.strip()} is published, and stays" in said.err
    again = cli("publish", path, *both)
    assert again.code == 0, again.err
    assert again.out.splitlines()[1] == said.out.strip()
    assert set(left(cloud)[0]) == set(again.out.split())


def test_settings(cloud: Cloud, cli: Cli, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        f'kernel = "{hello}"\ntargets = ["openstack"]\n[publish.openstack]\nname = "an app"\n'
        'visibility = "shared"\n'
        'tags = ["a", "b"]\n[publish.openstack.properties]\nos_type = "mirage"\nteam = "web"\n'
    )
    said = cli("publish", "r.toml")
    assert said.code == 0, said.err
    image = cloud.image.get_image(said.out.strip())
    assert (image.name, image.visibility, sorted(image.tags)) == ("an app", "shared", ["a", "b"])
    assert (image.os_type, image.properties["team"]) == ("mirage", "web")


@pytest.mark.parametrize(
    "fault",
    [
        "POST /v2/images$ 1 403",
        "PUT /file$ 1 415",
        "PUT /file$ 1 413",
        "PUT /file$ 1-3 502",
        "PUT /file$ 1-3 cut=100000",
        "PUT /file$ 1-3 reset",
        "PUT /file$ 1-3 flip",
        "GET /v2/images/ 1 404",
        "PATCH /v2/images 1 409",
    ],
)
def test_what_fails_leaves_nothing(cloud: Cloud, gate: Gate, cli: Cli, build: Build, fault: str) -> None:
    path = build()
    gate.fault(fault)
    said = cli("publish", path)
    assert (said.code, said.out) == (5, "")
    gate.clear()
    assert left(cloud) == ([], [])
    assert cli("publish", path).code == 0


@pytest.mark.parametrize(
    "fault",
    [
        "PUT /file$ 1 503",
        "PUT /file$ 1 cut=100000",
        "PUT /file$ 1 reset",
        "PUT /file$ 1 401",
        "GET /v2/images/ 1-2 429",
        "PUT /file$ 1 503, DELETE /v2/images/ 1-2 500",
    ],
)
def test_what_passes_is_tried_again(cloud: Cloud, gate: Gate, cli: Cli, build: Build, fault: str) -> None:
    path = build()
    gate.fault(*fault.split(", "))
    said = cli("publish", path)
    assert said.code == 0, said.err
    assert left(cloud) == ([said.out.strip()], [])
    assert cloud.image.download_image(said.out.strip()).content == path.read_bytes()


@pytest.mark.parametrize("method,call", [("direct", "/file$"), ("staged", "/stage$")])
def test_half_an_image_is_not_taken_for_the_whole(
    cloud: Cloud, gate: Gate, cli: Cli, build: Build, method: str, call: str
) -> None:
    """Glance makes an image of a VHD's first part, and calls it active."""
    path = build()
    gate.fault(f"PUT {call} 1-9 short=1000000")
    said = cli("publish", path, "--method", method)
    assert (said.code, said.out) == (5, "")
    assert "another image than the one that was sent" in said.err
    assert "1000000 bytes" in said.err
    assert left(cloud) == ([], [])


def test_a_token_that_is_revoked_meanwhile(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    """The whole body is sent again with a new token, not its rest."""
    path = build()
    gate.fault("PUT /file$ 1 revoke")
    said = cli("publish", path)
    assert said.code == 0, said.err
    assert cloud.image.download_image(said.out.strip()).content == path.read_bytes()


def test_keep_on_failure(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    gate.fault("PATCH /v2/images 1 409")
    said = cli("publish", path, "--keep-on-failure")
    assert said.code == 5
    assert "kept, as asked: image " in said.err
    (image,) = left(cloud)[0]
    again = cli("publish", path)
    assert (again.code, again.out) == (0, f"{image}\n"), again.err


def test_too_large_for_the_cloud(cloud: Cloud, cli: Cli, build: Build) -> None:
    path = build("openstack.format=raw", "disk.size=42MiB", name="app.raw")
    said = cli("publish", path)
    assert said.code == 5
    assert "too large" in said.err or "connection failed" in said.err, said.err
    assert left(cloud) == ([], [])


def test_no_room_in_the_project(cloud: Cloud, cli: Cli, build: Build) -> None:
    path = build("openstack.format=raw", "disk.size=24MiB", name="app.raw")
    assert cli("publish", path).code == 0
    there = left(cloud)
    said = cli("publish", path, "--name", "another")
    assert (said.code, said.out) == (5, "")
    assert "quota" in said.err
    assert left(cloud) == there


@pytest.mark.usefixtures("gate")
def test_what_is_no_dynamic_vhd_is_refused(tmp_path: Path) -> None:
    """Glance looks at what comes: it takes a fixed VHD, which has nothing but a footer, for a raw disk."""
    fixed = tmp_path / "fixed.vhd"
    run("qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed", fixed, "4M")
    course = Course("here", print, Event())
    with connected(None, None) as there:
        images = Images(there, "a-publication", 60.0, course)
        image = images.create({"name": "fixed", "disk_format": "vhd", "container_format": "bare"})
        with pytest.raises(RefusedError, match="does not take this kind of image") as refused:
            images.send(image, body_of(fixed, course), staged=False)
        assert refused.value.status == 415
        images.remove(image)


def test_what_comes_from_glance_boots(cloud: Cloud, cli: Cli, build: Build, prove: Cli, tmp_path: Path) -> None:
    said = cli("publish", build("openstack.format=ovf", name="app.tgz"))
    assert said.code == 0, said.err
    (tmp_path / "back.tgz").write_bytes(cloud.image.download_image(said.out.strip()).content)
    proof = prove("prove", "back.tgz", "--by", "pygrub", "--expect", "from imagekit")
    assert (proof.code, proof.out.partition(": ")[2]) == (0, "booted (pygrub)\n"), proof.err


def test_a_changed_artifact(gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    said = cli("publish", path)
    assert said.code == 6
    assert gate.calls == []


@pytest.mark.usefixtures("cloud")
def test_a_cloud_on_kvm(gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    gate.nova.hypervisor = "QEMU"
    said = cli("publish", path)
    assert said.code == 3
    assert "its hypervisors are qemu" in said.err
    assert not any(call.startswith(("PUT", "POST")) for call in gate.calls)
    assert cli("publish", path, "--hypervisor", "xen").code == 0
    gate.nova.hypervisor = "XenServer"
    assert "warning" not in cli("publish", path).err


def test_a_cloud_whose_images_tell(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    """What a cloud offers to everybody tells it: here by a public image, which its administrator has made."""
    path = build()
    administrator = environment(gate.ports, "admin")
    with openstack.connect(load_envvars=False, load_yaml_config=False, region_name="RegionOne", auth={
        name.removeprefix("OS_").lower(): value for name, value in administrator.items() if "REGION" not in name
    }) as made:  # fmt: skip
        admin: Cloud = made
        offered = admin.image.create_image(
            "debian", allow_duplicates=True, disk_format="raw", container_format="bare", visibility="public",
            hw_qemu_guest_agent="yes", data=b"disk",
        )  # fmt: skip
        try:
            said = cli("publish", path)
            assert (said.code, "debian is for KVM (hw_qemu_guest_agent)" in said.err) == (3, True), said.err
            admin.image.update_image(offered, vm_mode="xen")
            assert "warning" not in cli("publish", path).err
        finally:
            admin.image.delete_image(offered)
    assert len(left(cloud)[0]) == 1


@pytest.mark.parametrize(
    "variables,arguments,code,words",
    [
        ({"OS_PASSWORD": "a-secret"}, (), 5, "not let in"),
        ({"OS_AUTH_URL": ""}, (), 2, "no account"),
        ({"OS_AUTH_URL": "http://127.0.0.1:1/v3"}, (), 5, "connection failed"),
        ({}, ("--os-cloud", "nowhere"), 2, "no account"),
        ({}, ("--region", "Nowhere"), 2, "has no region Nowhere"),
        ({}, ("--target", "rackspace"), 2, "built for the target openstack"),
        ({}, ("--rehearse",), 2, "not rehearsed"),
        ({}, ("--sr", "x"), 2, "--sr is not for"),
    ],
)
@pytest.mark.usefixtures("gate")
def test_bad_accounts(
    cli: Cli,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    path = build()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = cli("publish", path, *arguments)
    assert said.code == code, said.err
    assert words in said.err
    assert "a-secret" not in said.err


@pytest.mark.parametrize("where", ["variables", "clouds.yaml"])
def test_an_application_credential(
    cloud: Cloud, gate: Gate, cli: Cli, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = build()
    first = cli("publish", path)
    made = cloud.identity.create_application_credential(cloud.current_user_id, f"of {where}")
    account = {
        "auth_url": environment(gate.ports)["OS_AUTH_URL"],
        "application_credential_id": made.id,
        "application_credential_secret": made.secret,
    }
    for name in environment(gate.ports):
        monkeypatch.delenv(name)
    if where == "variables":
        for name, value in account.items():
            monkeypatch.setenv(f"OS_{name.upper()}", value)
        monkeypatch.setenv("OS_AUTH_TYPE", "v3applicationcredential")
        monkeypatch.setenv("OS_REGION_NAME", "RegionOne")
    else:
        one = {"auth_type": "v3applicationcredential", "auth": account, "region_name": "RegionOne"}
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"mine": one}}))
        monkeypatch.setenv("OS_CLOUD", "mine")
    said = cli("publish", path, "--name", "another")
    assert said.code == 0, said.err
    assert cli("publish", path).out == first.out, "the project is the same"
    kept = "".join(one.read_text() for one in (tmp_path / "state").rglob("*") if one.is_file())
    assert said.out.strip() in kept
    assert made.secret not in kept + said.err
    assert cli("receipts", "destroy", said.out.strip()).code == 0
    assert left(cloud)[0] == [first.out.strip()]


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize(
    "host,region,refused",
    [
        ("keystone.api.sjc3.rackspacecloud.com", "SJC3", True),
        ("identity.api.rackspacecloud.com", "DFW3", True),
        ("identity.api.rackspacecloud.com", "DFW", False),
        ("keystone.example", "DFW3", False),
    ],
)
def test_rackspace_flex_is_refused(host: str, region: str, refused: bool) -> None:
    with connected(None, None) as there:
        one = replace(there, auth_url=f"https://{host}/v3", region=region)
        if refused:
            with pytest.raises(KernelError, match="runs no Xen") as caught:
                check(one, print)
            assert "Rackspace Flex" in caught.value.details
        else:
            check(one, print)


def test_a_server_on_a_network(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    start = ("--start", "--flavor", "small", "--watch", "1", "--network")
    said = cli("publish", path, *start, "wan")
    assert (said.code, "no network is named 'wan'" in said.err) == (2, True), said.err
    assert left(cloud) == ([], [])
    assert cli("publish", path, *start, "lan").code == 0
    (server,) = gate.nova.servers.values()
    assert server["asked_networks"] == [{"uuid": NETWORK["id"]}]


def test_a_server(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    said = cli("publish", path, "--start")
    assert (said.code, "--flavor" in said.err) == (2, True)
    said = cli("publish", path, "--start", "--flavor", "none")
    assert (said.code, "no flavor" in said.err) == (2, True)
    assert left(cloud) == ([], [])
    start = ("--start", "--flavor", "small", "--watch", "1")
    gate.fault("GET /compute/v2.1/servers/ 1-2 502")
    said = cli("publish", path, *start)
    assert said.code == 0, said.err
    (server,) = gate.nova.servers.values()
    assert server["image"]["id"] == said.out.strip()
    again = cli("publish", path, *start)
    assert (again.code, again.out, len(gate.nova.servers)) == (0, said.out, 1), again.err
    assert cli("receipts", "destroy", said.out.strip()).code == 0
    assert (gate.nova.servers, left(cloud)) == ({}, ([], []))


@pytest.mark.parametrize("fate,words", [("ERROR", "No valid host"), ("SHUTOFF", "Kernel panic")])
def test_a_server_that_does_not_live(
    cloud: Cloud, gate: Gate, cli: Cli, build: Build, fate: str, words: str
) -> None:
    gate.nova.fate = fate
    said = cli("publish", build(), "--start", "--flavor", "small", "--watch", "1")
    assert said.code == 5
    assert words in said.err
    assert (gate.nova.servers, left(cloud)) == ({}, ([], []))


def test_sweep(cloud: Cloud, gate: Gate, cli: Cli, build: Build) -> None:
    path = build()
    assert cli("publish", path).code == 0
    gate.fault("PATCH /v2/images 1 409")
    assert cli("publish", path, "--name", "other", "--keep-on-failure").code == 5
    gate.clear()
    assert len(left(cloud)[0]) == 2
    said = cli("receipts", "sweep", "--older-than", "0h", "--region", "RegionOne")
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 1
    assert len(left(cloud)[0]) == 1
