"""The ami target: a bundle whose image is the one of the other targets, made again only when something changed."""

import json
import os
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.errors import KernelError, RecipeError, UsageError
from imagekit.events import Event, StepDone
from imagekit.formats import ami
from imagekit.sparse import digest_file
from imagekit.verify import verify
from tests.conftest import Make

SELF_SIGNED = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/", "-keyout")
GIB = 1 << 30


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two users' pairs and EC2's certificate, by openssl."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "ec2", "other"):
        run("openssl", *SELF_SIGNED, folder / f"{name}.key", "-out", folder / f"{name}.pem")
    return folder


@pytest.fixture
def settings(keys: Path) -> dict[str, object]:
    return {
        "ami.private_key": str(keys / "own.key"),
        "ami.ec2_cert": str(keys / "ec2.pem"),
        "ami.user": "123456789012",
    }


def one(artifacts: list[Artifact]) -> Artifact:
    (artifact,) = artifacts
    return artifact


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("layout, device", [("plain", "sda1"), ("mbr", "sda"), ("gpt", "sda")])
def test_the_image_in_it(
    make: Make, kernels: Path, keys: Path, settings: dict[str, object], tmp_path: Path, layout: str, device: str
) -> None:
    settings["disk.layout"] = layout
    artifact = one(make(kernels / "hello.xen", target="ami", settings=settings))
    assert artifact.path == tmp_path / "out" / "hello.manifest.xml"
    names = [path.name for path in artifact.companions]
    assert names == ["hello.manifest.xml.imagekit.json", "hello.part.0"]
    assert sorted(files(tmp_path / "out")) == sorted([artifact.path.name, *names])
    found = ami.unbundle(artifact.path, tmp_path / "back", ami.private_key((keys / "own.key").read_bytes()))
    assert (found.name, found.user, found.machine.architecture) == ("hello", "123456789012", "x86_64")
    assert found.machine.devices == {"ami": device, "root": "/dev/sda1"}
    raw = one(make(kernels / "hello.xen", target="xen", settings={"disk.layout": layout}, out=tmp_path / "raw"))
    assert (tmp_path / "back").read_bytes() == raw.path.read_bytes()
    sidecar = json.loads((tmp_path / "out" / names[0]).read_bytes())
    assert sidecar["digest"] == artifact.digest == digest_file(tmp_path / "back")
    assert (sidecar["boot"]["way"], sidecar["companions"]) == ("pv-grub", {})
    assert artifact.size > (tmp_path / "out" / "hello.part.0").stat().st_size


def test_once_is_enough(
    make: Make, kernels: Path, keys: Path, settings: dict[str, object], tmp_path: Path
) -> None:
    told: list[bool] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == "bundle":
            told.append(event.cached)

    def again(**more: object) -> Artifact:
        found = {**settings, **{f"ami.{name}": value for name, value in more.items()}}
        return one(make(kernels / "hello.xen", target="ami", settings=found, listener=listen))

    first = again()
    out = tmp_path / "out"
    before, inodes = files(out), {path.name: path.stat().st_ino for path in out.iterdir()}
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert again().cached is False, "somebody touched it"
    os.utime(first.path, (1, 1))
    assert [again().cached, again().cached] == [False, True]
    inodes = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert again().cached
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == inodes
    assert first.path.stat().st_mtime > 1
    assert files(out) == before, "the same bytes every time"
    (out / "hello.part.0").unlink()
    again()
    assert files(out) == before
    again(kernel="aki-919dcaf8")
    assert b"<kernel_id>aki-919dcaf8<" in first.path.read_bytes()
    again(private_key=str(keys / "other.key"))
    assert files(out)["hello.part.0"] != before["hello.part.0"]
    assert told == [False, False, False, True, True, False, False, False]


def test_a_given_key(make: Make, kernels: Path, settings: dict[str, object], tmp_path: Path) -> None:
    secrets = tmp_path / "aes"
    secrets.write_text("0" * 32 + "\n" + "1" * 32)
    settings["ami.secrets"] = str(secrets)
    artifact = one(make(kernels / "hello.xen", target="ami", settings=settings))
    part = (tmp_path / "out" / "hello.part.0").read_bytes()
    tar = run(
        "gzip",
        "-dc",
        stdin=run("openssl", "enc", "-d", "-aes-128-cbc", "-K", "0" * 32, "-iv", "1" * 32, stdin=part).stdout,
    ).stdout
    assert run("tar", "-tf", "-", stdin=tar).text() == "hello\n"
    secrets.write_text("0" * 32 + "\n" + "2" * 32)
    assert not one(make(kernels / "hello.xen", target="ami", settings=settings)).cached
    assert (tmp_path / "out" / "hello.part.0").read_bytes() != part
    assert artifact.path.exists()


def test_verified(make: Make, kernels: Path, keys: Path, settings: dict[str, object], tmp_path: Path) -> None:
    artifact = one(make(kernels / "hello.xen", target="ami", settings=settings))
    checks = {check.name: check.verdict for check in verify(artifact.path, private_key=keys / "own.key")}
    assert {"bundle", "digest", "instance store"} <= set(checks)
    sidecar = tmp_path / "out" / "hello.manifest.xml.imagekit.json"
    told = json.loads(sidecar.read_bytes())
    sidecar.unlink()
    assert "bundle" in {check.name for check in verify(artifact.path, private_key=keys / "own.key")}
    sidecar.write_text(json.dumps({**told, "architecture": "i386"}))
    with pytest.raises(Exception, match="differ in the architecture"):
        list(verify(artifact.path, private_key=keys / "own.key"))


@pytest.mark.parametrize(
    "name, parts", [("x.manifest.xml", "x.part.0"), ("x.xml", "x.part.0"), ("bundle", "bundle.part.0")]
)
def test_any_name(
    make: Make, kernels: Path, settings: dict[str, object], tmp_path: Path, name: str, parts: str
) -> None:
    out = tmp_path / "out" / name
    artifact = one(make(kernels / "hello.xen", target="ami", settings=settings, out=out))
    assert artifact.path == out
    assert sorted(files(out.parent)) == sorted([name, f"{name}.imagekit.json", parts])


def test_the_environment_goes_before_the_recipe(
    make: Make, kernels: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "app.toml"
    recipe.write_text(
        f'kernel = "{kernels}/hello.xen"\ntargets = ["ami"]\n[ami]\nprivate_key = "none.key"\n'
        f'ec2_cert = "{os.path.relpath(keys, tmp_path)}/ec2.pem"\nuser = "none"\n'
    )
    monkeypatch.chdir(keys)
    environment = {"EC2_PRIVATE_KEY": "own.key", "EC2_CERT": "own.pem", "EC2_USER": "1234-5678-9012"}
    artifact = one(make(recipe, environment=environment))
    assert b"<user>123456789012</user>" in artifact.path.read_bytes()
    with pytest.raises(UsageError, match=r"other\.pem and .*own\.key are no pair"):
        make(recipe, environment={**environment, "EC2_CERT": "other.pem"})
    with pytest.raises(UsageError, match=r"none\.key is no file"):
        make(recipe, environment={"EC2_USER": "1234-5678-9012"})
    with pytest.raises(UsageError, match="'none' is no AWS account"):
        make(recipe, environment={"EC2_PRIVATE_KEY": "own.key"})
    assert make(kernels / "hello.xen", target="xen", environment={"EC2_PRIVATE_KEY": "none", "EC2_USER": "none"})


def test_what_is_missing(make: Make, kernels: Path, settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a private key and the AWS account and EC2's certificate") as caught:
        make(kernels / "hello.xen", target="ami")
    assert caught.value.exit_code == 2
    assert "EC2_PRIVATE_KEY" in caught.value.hint
    assert "imagekit keys new" in caught.value.hint
    del settings["ami.user"]
    with pytest.raises(RecipeError, match="takes the AWS account, which nothing names") as caught:
        make(kernels / "hello.xen", target="ami", settings=settings)
    assert caught.value.hint == "EC2_USER or ami.user: 12 digits"
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache" / "tmp").glob("*"))


@pytest.mark.parametrize(
    "more, error, words",
    [
        ({"filesystem.type": "fat16"}, RecipeError, "PV-GRUB reads no FAT"),
        ({"disk.size": 11 * GIB}, RecipeError, "10 GiB at most"),
        ({"boot": "pvh"}, KernelError, "the target ami has no PVH guests"),
        ({"boot": "hvm"}, KernelError, "the target ami has no HVM guests"),
        ({"ami.kernel": "eki"}, RecipeError, "ami.kernel"),
        ({"ami.ec2_cert": "/none"}, UsageError, "/none is no file"),
    ],
)
def test_what_is_refused(
    make: Make, kernels: Path, settings: dict[str, object], more: dict[str, object], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        make(kernels / "hello.xen", target="ami", settings={**settings, **more})


def test_a_pvh_kernel(make: Make, kernels: Path, settings: dict[str, object]) -> None:
    with pytest.raises(KernelError, match="cannot boot on ami: it has no entry for PV") as caught:
        make(kernels / "hello-pvh.xen", target="ami", settings=settings)
    assert caught.value.exit_code == 3


def test_all_is_with_keys_only(make: Make, kernels: Path, settings: dict[str, object]) -> None:
    made = [artifact.target for artifact in make(kernels / "hello.xen", target="all", settings=settings)]
    assert made == ["ami", "ebs", "openstack", "qubes", "rackspace", "xcp", "xen"]
    assert [artifact.target for artifact in make(kernels / "hello.xen", target="all")] == [
        "ebs",
        "openstack",
        "qubes",
        "rackspace",
        "xcp",
        "xen",
    ]
