"""`build --provenance`, `attest`, `verify --signed-by`, `verify --rebuild`: what is stated, and lies about it."""

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as TheirStatement

from imagekit import ed25519 as keys
from imagekit import proof
from imagekit.artifact import Sidecar
from imagekit.build import Runner, build
from imagekit.command import run
from imagekit.disk import core_of, grub_folder
from imagekit.ed25519 import PRIVATE, PUBLIC, new_pair
from imagekit.prepare import Request, prepare
from imagekit.provenance import dsse, sums
from imagekit.provenance.record import Build
from imagekit.provenance.signing import sign
from imagekit.store import Store
from tests.cli.conftest import Cli
from tests.provenance.models import Statement
from tests.publish.conftest import REGION, Open, rehearse
from tests.root.conftest import entry, tar_bytes
from tests.root.test_hostile_layouts import Layout
from tests.test_proof import GOOD

__all__ = ["rehearse"]

RECIPE = """
variables = ["BUILD"]
kernel = "app.xen"
cmdline = "build=${BUILD} cost=$${5}"
memory = "32MiB"
targets = ["xen", "rackspace"]
[disk]
layout = "mbr"
[[root.files]]
from = "site"
to = "/srv"
[[root.files]]
from = "more.tar"
to = "/opt/"
[[root.files]]
from = "notes"
to = "/etc/notes"
mode = "0600"
[provenance]
write = true
builder = "https://farm.example/builders/1"
"""
STATUS = """Package: bash
Status: install ok installed
Version: 5.2.15-2+b7
Architecture: amd64

Package: libstdc++6
Status: install ok installed
Source: gcc-12
Version: 12.2.0-14
Architecture: amd64
"""
APK = "P:musl\nV:1.2.5-r0\nA:x86_64\n\n"


def checkout(folder: Path, kernel: Path) -> Path:
    """Make a folder with a recipe and all that it reads."""
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "index.html").write_text("welcome")
    (folder / "notes").write_text("notes")
    with tarfile.open(folder / "more.tar", "w") as tar:
        told = tarfile.TarInfo("in-a-tar")
        told.size = len("notes")
        tar.addfile(told, io.BytesIO(b"notes"))
    shutil.copy(kernel, folder / "app.xen")
    (folder / "app.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def built(kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return farm/, a checkout whose recipe was built into out/, and one/, app.raw signed; both made once."""
    folder = tmp_path_factory.mktemp("built")
    store = Store(folder / "cache")
    checkout(folder / "farm", kernels / "hello.xen")
    (folder / "one").mkdir()
    shutil.copy(kernels / "hello.xen", folder / "one" / "app.xen")
    for path, out in (("farm/app.toml", "farm/out/"), ("one/app.xen", "one/app.raw")):
        with store.in_use():
            runner = Runner(store)
            prepared = prepare(Request([folder / path], (), f"{folder}/{out}"), runner, {"BUILD": "17"})
            for artifact in build(prepared.plan, store, runner=runner):
                Build(prepared, runner, 946684800).write(artifact)
    private, public = new_pair()
    (folder / "one" / PRIVATE).touch(0o600)
    (folder / "one" / PRIVATE).write_bytes(private)
    (folder / "one" / PUBLIC).write_bytes(public)
    sign(folder / "one" / "app.raw", folder / "one" / PRIVATE)
    return folder


@pytest.fixture
def farm(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the checkout."""
    monkeypatch.setenv("BUILD", "17")
    return Path(shutil.copytree(built / "farm", tmp_path / "farm"))


@pytest.fixture
def signed(cli: Cli, built: Path, tmp_path: Path) -> Path:
    """Return app.raw here, with all that goes with it, signed with signing-key.pem."""
    del cli  # which goes to tmp_path
    shutil.copytree(built / "one", tmp_path, dirs_exist_ok=True)
    return Path("app.raw")


def read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_bytes())
    assert isinstance(found, dict)
    return found


def components(path: Path) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in read(path)["components"]}


def test_all_that_lies_beside_holds_by_the_tools_of_others(farm: Path) -> None:
    out = farm / "out"
    for main in ("app.xen.raw", "app.rackspace.vhd"):
        run("sha256sum", "--check", "--strict", f"{main}.SHA256SUMS", cwd=out)
        text = (out / f"{main}.intoto.json").read_text()
        Statement.model_validate_json(text)
        theirs = json_format.Parse(text, statement_pb2.Statement())
        TheirStatement.copy_from_pb(theirs).validate()
        json_format.Parse(json.dumps(json.loads(text)["predicate"]), provenance_pb2.Provenance())
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((out / f"{main}.cdx.json").read_text()) is None
        made = {path.name for path in out.glob(f"{main}*")}
        subjects = {one["name"] for one in json.loads(text)["subject"]}
        assert made == subjects | {f"{main}{end}" for end in (".SHA256SUMS", ".intoto.json", ".cdx.json")}


def test_the_statement_tells_what_it_was_made_of(farm: Path) -> None:
    said = read(farm / "out" / "app.rackspace.vhd.intoto.json")["predicate"]
    definition = said["buildDefinition"]
    assert definition["externalParameters"] == {
        "recipe": {
            "name": "app",
            "kernel": "app.xen",
            "cmdline": "build=17 cost=${5}",
            "memory": 32 << 20,
            "disk": {"layout": "mbr"},
            "root": {
                "files": [
                    {"from": "site", "to": "/srv"},
                    {"from": "more.tar", "to": "/opt/"},
                    {"from": "notes", "to": "/etc/notes", "mode": "0600"},
                ]
            },
        },
        "sourceDateEpoch": 946684800,
        "target": "rackspace",
    }
    inputs = {one["name"]: one for one in definition["resolvedDependencies"]}
    for name in ("app.toml", "app.xen", "more.tar", "notes"):
        assert inputs[name]["digest"] == {"sha256": sums.sha256(farm / name)}
    assert inputs["site"]["digest"]["dirHash"] == sums.directory_hash(farm / "site")
    assert inputs["mke2fs"]["uri"].startswith("pkg:generic/mke2fs@1.")
    assert "libparted" in definition["internalParameters"]["tools"]
    assert said["runDetails"]["builder"]["id"] == "https://farm.example/builders/1"


def test_the_bill_names_kernel_and_files(farm: Path) -> None:
    found = components(farm / "out" / "app.xen.raw.cdx.json")
    assert found["imagekit-hello"]["version"] == "1"
    assert found["imagekit-hello"]["hashes"][0]["content"] == sums.sha256(farm / "app.xen")
    for path, source in (
        ("/srv/index.html", "site/index.html"),
        ("/opt/in-a-tar", "notes"),
        ("/etc/notes", "notes"),
    ):
        assert found[path]["hashes"] == [{"alg": "SHA-256", "content": sums.sha256(farm / source)}]


def test_the_same_bytes_wherever_and_whenever(cli: Cli, farm: Path, tmp_path: Path, kernels: Path) -> None:
    other = checkout(tmp_path / "elsewhere" / "deep", kernels / "hello.xen")
    assert cli("build", other / "app.toml", "-o", f"{other}/out/", "-q").code == 0
    names = sorted(path.name for path in (farm / "out").iterdir())
    assert names == sorted(path.name for path in (other / "out").iterdir())
    assert len(names) == 13
    for name in names:
        assert (farm / "out" / name).read_bytes() == (other / "out" / name).read_bytes(), name


def test_the_bill_of_a_system_lists_its_packages(cli: Cli, hello: Path) -> None:
    for name, path, text, release in (
        ("debian", "var/lib/dpkg/status", STATUS, 'ID=debian\nVERSION_ID="12"\n'),
        ("alpine", "lib/apk/db/installed", APK, "ID=alpine\n"),
    ):
        for where, content in ((path, text), ("etc/os-release", release), ("bin/tool", "x")):
            place = Path(name, where)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        with tarfile.open(f"{name}.tar.gz", "w:gz") as tar:
            tar.add(name, ".")
        for source in (name, f"{name}.tar.gz"):
            settings = ("--set", f"root.from={source}", "--set", f"name={name}")
            said = cli("build", hello, "-o", "os.raw", "--provenance", "-q", *settings)
            assert said.code == 0, said.err
            bill = Path("os.raw.cdx.json")
            assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None
            found = components(bill)
            if name == "debian":
                assert found["libstdc++6"]["purl"] == (
                    "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12"
                )
                assert found["bash"]["version"] == "5.2.15-2+b7"
            else:
                assert found["musl"]["purl"] == "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64"
            assert "/bin/tool" not in found
            assert f"/boot/{name}.xen" in found
            assert cli("verify", "os.raw", "--rebuild").code == 0


def test_grub_in_the_boot_sector_is_on_the_bill(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    """By its version, and by the digest of the very bytes before the first partition; it is made again, too."""
    shutil.copy(kernels / "hello-pvh.xen", tmp_path / "pvh.xen")
    done = cli("build", "pvh.xen", "--boot", "hvm", "--provenance", "-q", "-o", "pvh.raw")
    assert done.code == 0, done.err
    grub = components(tmp_path / "pvh.raw.cdx.json")["GRUB"]
    statement = read(tmp_path / "pvh.raw.intoto.json")
    told = statement["predicate"]["buildDefinition"]["internalParameters"]["tools"]["grub"]
    assert told.startswith(f"{grub['version']}, modules ")
    sector = bytearray((tmp_path / "pvh.raw").read_bytes()[: 1 << 20])
    end = 512 + len(core_of(bytes(sector)))
    sector[440:512] = (grub_folder() / "boot.img").read_bytes()[440:]  # where the partition table is
    assert grub["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(sector[:end]).hexdigest()}]
    assert cli("verify", "pvh.raw", "--rebuild").code == 0


def test_an_oci_image_is_named_by_its_manifest(cli: Cli, hello: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "image")
    layer = layout.blob(tar_bytes((entry("etc/os-release"), b"ID=none")), "layer.v1.tar")
    layout.index(layout.image(layer))
    said = cli("build", hello, "-o", "os.raw", "--provenance", "-q", "--set", "root.from=image")
    assert said.code == 0, said.err
    definition = read(Path("os.raw.intoto.json"))["predicate"]["buildDefinition"]
    (found,) = (one for one in definition["resolvedDependencies"] if one["name"] == "image")
    (manifest,) = read(tmp_path / "image" / "index.json")["manifests"]
    assert f"sha256:{found['digest']['sha256']}" == manifest["digest"]
    assert cli("verify", "os.raw", "--rebuild").code == 0


def test_nothing_of_it_unless_it_is_wanted(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-o", "app.raw", "-q").code == 0
    assert sorted(os.listdir()) == [
        "app.raw", "app.raw.cfg", "app.raw.imagekit.json", "app.raw.xm.cfg", "app.raw.xml", "app.xen", "cache",
    ]  # fmt: skip


def test_keys_and_signatures(cli: Cli, hello: Path) -> None:
    assert cli("keys", "new", "--ed25519").out == "signing-key.pem\nsigning-key.pub.pem\n"
    assert stat.S_IMODE(Path("signing-key.pem").stat().st_mode) == 0o600
    said = cli("build", hello, "-o", "app.raw", "--provenance", "--sign-with", "signing-key.pem")
    assert (said.code, said.out) == (0, "app.raw\n")
    signed, first = Path("app.raw"), Path("app.raw.intoto.jsonl").read_bytes()
    said = cli("attest", signed, "--sign-with", "signing-key.pem")
    assert (said.code, said.out) == (0, "app.raw.intoto.jsonl\n")
    assert Path("app.raw.intoto.jsonl").read_bytes() == first
    secret = Path("signing-key.pem").read_bytes().splitlines()[1]
    assert not [
        path
        for path in Path().iterdir()
        if path.is_file() and path.name != "signing-key.pem" and secret in path.read_bytes()
    ]
    said = cli("verify", signed, "--signed-by", "signing-key.pub.pem")
    assert said.code == 0, said.err
    assert "ok       provenance: SHA-256 of 6 files" in said.err
    assert cli("keys", "new", "--ed25519").code == 2


def _bundle(change: Callable[[dict[str, Any]], object]) -> Callable[[], object]:
    """Return a lie in the envelope."""

    def lie() -> None:
        path = Path("app.raw.intoto.jsonl")
        content = read(path)
        change(content)
        path.write_text(json.dumps(content) + "\n")

    return lie


def _statement(change: Callable[[dict[str, Any]], object], *, sign: bool) -> Callable[[], object]:
    """Return a lie in the statement, which is signed or not."""

    def lie() -> None:
        path = Path("app.raw.intoto.jsonl")
        content = read(path)
        statement = json.loads(b64decode(content["payload"]))
        change(statement)
        payload = json.dumps(statement).encode()
        if sign:
            key = keys.private_key(Path("signing-key.pem"))
            path.write_bytes(dsse.signed(payload, key, "").to_line())
            Path("app.raw.intoto.json").write_bytes(payload)
            Path("app.raw.SHA256SUMS").unlink()
        else:
            path.write_text(json.dumps({**content, "payload": b64encode(payload).decode()}) + "\n")

    return lie


def _append(name: str) -> Callable[[], object]:
    return lambda: Path(name).write_bytes(Path(name).read_bytes() + b" ")


LIES: dict[str, tuple[Callable[[], object], str]] = {
    "the artifact": (lambda: os.truncate("app.raw", 5 << 20), "app.raw is not what"),
    "a companion": (_append("app.raw.cfg"), "app.raw.cfg is not what"),
    "the sidecar": (_append("app.raw.imagekit.json"), "app.raw.imagekit.json is not what"),
    "the bill": (_append("app.raw.cdx.json"), "app.raw.cdx.json is not what"),
    "the plain statement": (_append("app.raw.intoto.json"), "app.raw.intoto.json is not what"),
    "the plain statement, without sums": (
        lambda: (_append("app.raw.intoto.json")(), Path("app.raw.SHA256SUMS").rename("elsewhere")),
        "is not what was signed",
    ),
    "a companion that is gone": (lambda: Path("app.raw.xml").unlink(), "No such file"),
    "no bundle": (lambda: Path("app.raw.intoto.jsonl").unlink(), "nothing is signed"),
    "an empty bundle": (lambda: Path("app.raw.intoto.jsonl").write_bytes(b""), "no statement of provenance"),
    "no signature": (_bundle(lambda one: one.update(signatures=[])), "no statement of provenance"),
    "another key's name": (_bundle(lambda one: one["signatures"][0].update(sig="AAAA")), "was changed after"),
    "another type": (_bundle(lambda one: one.update(payloadType="text/plain")), "no in-toto statement"),
    "no envelope": (_bundle(lambda one: one.pop("payload")), "no DSSE envelope"),
    "hostile JSON": (lambda: Path("app.raw.intoto.jsonl").write_text("[" * 99_999), "is no JSON"),
    "a changed statement": (_statement(lambda one: one["subject"].pop(), sign=False), "was changed after"),
    "twice": (
        _statement(lambda one: one["subject"].append(one["subject"][0]), sign=True),
        "names a subject twice",
    ),
    "one too few": (_statement(lambda one: one["subject"].pop(), sign=True), "says nothing of app.raw.xml"),
    "elsewhere": (
        _statement(lambda one: one["subject"][1].update(name="../app.raw.cfg"), sign=True),
        "another folder",
    ),
    "another kind": (
        _statement(lambda one: one.update(predicateType="urn:x:y"), sign=True),
        "no statement of prov",
    ),
    "no digest": (
        _statement(lambda one: one["subject"][0].update(digest={"md5": "00"}), sign=True),
        "without a name",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(cli: Cli, signed: Path, lie: str) -> None:
    change, told = LIES[lie]
    change()
    said = cli("verify", signed, "--signed-by", "signing-key.pub.pem")
    assert said.code == 6, said
    assert told in said.err


def test_nothing_is_built_of_a_statement_that_is_not_signed(cli: Cli, signed: Path) -> None:
    _append("app.raw.intoto.json")()
    Path("app.raw.SHA256SUMS").unlink()
    said = cli("verify", signed, "--rebuild", "--signed-by", "signing-key.pub.pem")
    assert said.code == 6
    assert "is not what was signed" in said.err
    assert "inputs" not in said.err


def test_another_key(cli: Cli, signed: Path) -> None:
    assert cli("keys", "new", "--ed25519", "-o", "other").code == 0
    said = cli("verify", signed, "--signed-by", "other/signing-key.pub.pem")
    assert said.code == 6
    assert "another key" in said.err
    # Both may sign, and each is believed by who trusts it.
    line = Path("app.raw.intoto.jsonl").read_bytes()
    assert cli("attest", signed, "--sign-with", "other/signing-key.pem").code == 0
    Path("app.raw.intoto.jsonl").write_bytes(line + Path("app.raw.intoto.jsonl").read_bytes())
    for key in ("signing-key.pub.pem", "other/signing-key.pub.pem"):
        assert cli("verify", signed, "--signed-by", key).code == 0


def test_a_key_that_others_may_read(cli: Cli, signed: Path) -> None:
    Path("signing-key.pem").chmod(0o644)
    said = cli("attest", signed, "--sign-with", "signing-key.pem")
    assert said.code == 2
    assert "chmod 600" in said.err


def test_sums_are_checked_without_being_asked(cli: Cli, signed: Path) -> None:
    _append("app.raw.cdx.json")()
    said = cli("verify", signed)
    assert said.code == 6
    assert "app.raw.cdx.json is not what" in said.err


def test_made_again(cli: Cli, farm: Path) -> None:
    for main in ("app.xen.raw", "app.rackspace.vhd"):
        said = cli("verify", farm / "out" / main, "--rebuild", "--input-dir", farm)
        assert said.code == 0, said.err
        assert "rebuild: " in said.err
        assert "the same bytes" in said.err
    # From wherever the inputs have come to lie.
    (farm / "out").rename(farm.parent / "out")
    flat = farm.rename(farm.parent / "moved")
    (flat / "app.toml").unlink()  # what it came to is in the statement
    said = cli("verify", farm.parent / "out" / "app.rackspace.vhd", "--rebuild", "--input-dir", flat)
    assert said.code == 0, said.err


def test_inputs_are_looked_at_first(cli: Cli, farm: Path) -> None:
    (farm / "notes").write_text("others")
    (farm / "more.tar").unlink()
    (farm / "site" / "index.html").chmod(0o755)
    said = cli("verify", farm / "out" / "app.rackspace.vhd", "--rebuild", "--input-dir", farm)
    assert said.code == 6
    for told in ("more.tar: not found", "notes: changed", "site: changed", "--input-dir"):
        assert told in said.err
    assert "app.xen:" not in said.err


def _alter(main: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = main.with_name(f"{main.name}.intoto.json")
    content = read(path)
    change(content)
    path.write_text(json.dumps(content))
    main.with_name(f"{main.name}.SHA256SUMS").unlink()


def test_other_bytes_are_told_with_where(cli: Cli, farm: Path) -> None:
    main = farm / "out" / "app.rackspace.vhd"
    _alter(
        main, lambda one: one["predicate"]["buildDefinition"]["externalParameters"]["recipe"].update(cmdline="x")
    )
    said = cli("verify", main, "--rebuild", "--input-dir", farm)
    assert said.code == 6
    assert "is made otherwise today" in said.err
    assert "first in block " in said.err


def test_tools_of_other_versions_are_named(cli: Cli, farm: Path) -> None:
    main = farm / "out" / "app.rackspace.vhd"
    _alter(
        main, lambda one: one["predicate"]["buildDefinition"]["internalParameters"]["tools"].update(mke2fs="old")
    )
    said = cli("verify", main, "--rebuild", "--input-dir", farm)
    assert said.code == 0, said.err
    assert "mke2fs was 'old', and is" in said.err


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["externalParameters"].update(more=1),
        lambda one: one["externalParameters"].pop("recipe"),
        lambda one: one["externalParameters"].update(recipe={"nonsense": 1}),
        lambda one: one["externalParameters"]["recipe"].update(kernel="/etc/passwd"),
        lambda one: one.update(buildType="urn:x:y"),
        lambda one: one.update(resolvedDependencies=7),
    ],
)
def test_a_statement_that_tells_of_no_build(
    cli: Cli, farm: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    main = farm / "out" / "app.rackspace.vhd"
    _alter(main, lambda one: change(one["predicate"]["buildDefinition"]))
    assert cli("verify", main, "--rebuild", "--input-dir", farm).code in {2, 6}


def test_a_bundle_is_made_again_with_the_keys(cli: Cli, hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EC2_PRIVATE_KEY", "EC2_CERT", "EC2_USER"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("keys", "other", "amazon"):
        assert cli("keys", "new", "-o", folder).code == 0
    shutil.copy("amazon/cert.pem", "keys/ec2.pem")
    named = [f"ami.{name}" for name in ("private_key=keys/pk.pem", "ec2_cert=keys/ec2.pem", "user='123456789012'")]
    settings = [word for one in named for word in ("--set", one)]
    said = cli("build", hello, "-t", "ami", "-o", "out/", "-q", "--provenance", *settings)
    assert said.code == 0, said.err
    main = Path("out/app.manifest.xml")
    assert "PRIVATE" not in Path(f"{main}.intoto.json").read_text()
    Path("moved").mkdir()
    for name in ("app.xen", "keys"):
        Path(name).rename(f"moved/{name}")
    # All keys but the private one are found as inputs are.
    Path("moved/keys/pk.pem").rename("pk.pem")
    said = cli("verify", main, "--rebuild", "--input-dir", "moved", "--private-key", "pk.pem")
    assert said.code == 0, said.err
    assert "rebuild: 3 files, the same bytes" in said.err
    said = cli("verify", main, "--rebuild", "--input-dir", "moved", "--private-key", "other/pk.pem")
    assert said.code == 6
    assert "is made otherwise today" in said.err


def test_proofs_and_publications_are_stated(
    cli: Cli, hello: Path, rehearse: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = rehearse()
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    assert cli("keys", "new", "--ed25519").code == 0
    assert cli("build", hello, "-t", "ebs", "-o", "x.ebs", "-q", "--provenance").code == 0
    main = Path("x.ebs")
    sidecar = Sidecar.read(main)
    assert sidecar is not None
    kept = proof.keep(replace(GOOD, disk=sidecar.digest), tmp_path / "state")
    said = cli("publish", main, "--region", REGION)
    assert said.code == 0, said.err
    said = cli("attest", main, "--sign-with", "signing-key.pem")
    assert said.out.split() == ["x.ebs.proof.intoto.json", "x.ebs.publication.intoto.json", "x.ebs.intoto.jsonl"]

    proven, published = (read(Path(name)) for name in said.out.split()[:2])
    for one in (proven, published):
        Statement.model_validate(one)
    json_format.Parse(json.dumps(proven["predicate"]), test_result_pb2.TestResult())
    assert proven["predicate"]["result"] == "WARNED"
    assert proven["predicate"]["configuration"][0]["digest"] == {"sha256": sums.sha256(kept)}
    (entry,) = published["predicate"]["publications"]
    assert entry["result"] == account.images(REGION)[0].id
    assert entry["proof"] == kept.stem
    (receipt,) = (tmp_path / "state" / "receipts").glob("*.json")
    assert entry["receipt"] == {"name": f"receipts/{receipt.name}", "digest": {"sha256": sums.sha256(receipt)}}

    said = cli("verify", main, "--signed-by", "signing-key.pub.pem")
    assert said.code == 0, said.err
    for told in ("signature: 3 of", "proof: WARNED", "publication: about these bytes"):
        assert told in said.err
    # Another build takes away what was said of this one.
    assert cli("build", hello, "-t", "ebs", "-o", "x.ebs", "-q", "--provenance", "--cmdline", "other").code == 0
    assert not list(Path().glob("x.ebs.p*")) + list(Path().glob("*.jsonl"))
