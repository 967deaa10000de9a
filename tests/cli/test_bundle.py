"""`imagekit bundle`, `unbundle` and `keys new`."""

import json
import os
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.sparse import digest_file
from tests.cli.conftest import Cli

ACCOUNT = "1234-5678-9012"


@pytest.fixture
def raw(cli: Cli, hello: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return app.raw, with the user's keys and a certificate to stand for EC2's beside it."""
    for name in ("EC2_PRIVATE_KEY", "EC2_CERT", "EC2_USER"):
        monkeypatch.delenv(name, raising=False)
    assert cli("build", hello, "-o", "app.raw", "-q").code == 0
    assert cli("keys", "new").out == "pk.pem\ncert.pem\n"
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "no.pem",
        "-out",
        "ec2.pem",
        "-subj",
        "/",
    )
    return Path("app.raw")


KEYS = ("--private-key", "pk.pem", "--ec2-cert", "ec2.pem", "--user", ACCOUNT)


def test_there_and_back(cli: Cli, raw: Path) -> None:
    said = cli("bundle", raw, "-o", "out", *KEYS)
    assert (said.code, said.out, said.err) == (0, "out/app.manifest.xml\n", "")
    assert sorted(os.listdir("out")) == ["app.manifest.xml", "app.part.0"]
    back = cli("unbundle", "out/app.manifest.xml", "--private-key", "pk.pem", "-o", "back.raw")
    assert (back.code, back.out) == (0, "back.raw\n")
    assert Path("back.raw").read_bytes() == raw.read_bytes()
    run("e2fsck", "-fn", "back.raw")


def test_the_old_tools_variables(cli: Cli, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EC2_PRIVATE_KEY", "pk.pem")
    monkeypatch.setenv("EC2_CERT", "cert.pem")
    monkeypatch.setenv("EC2_USER", ACCOUNT)
    said = cli("bundle", raw, "--ec2-cert", "ec2.pem", "--json")
    assert json.loads(said.out) == {"manifest": "app.manifest.xml"}
    assert "<user>123456789012</user>" in Path("app.manifest.xml").read_text()
    assert cli("unbundle", "app.manifest.xml", "-o", "back.raw", "--json").code == 0
    monkeypatch.setenv("EC2_CERT", "ec2.pem")
    assert "ec2.pem and pk.pem are no pair" in cli("bundle", raw, "--ec2-cert", "ec2.pem").err


def test_reproducible_is_the_same_bytes(cli: Cli, raw: Path) -> None:
    for folder in ("one", "two"):
        assert cli("bundle", raw, "-o", folder, "--reproducible", *KEYS).code == 0
    for name in ("app.manifest.xml", "app.part.0"):
        assert digest_file(Path("one", name)) == digest_file(Path("two", name))
    assert cli("bundle", raw, "-o", "three", *KEYS).code == 0
    assert digest_file(Path("three/app.part.0")) != digest_file(Path("one/app.part.0"))
    Path("aes").write_text("00" * 16 + "\n" + "11" * 16)
    assert cli("bundle", raw, "-o", "four", "--secrets", "aes", *KEYS).code == 0


def test_what_the_manifest_says(cli: Cli, raw: Path) -> None:
    more = ("--kernel", "aki-dc9ed9af", "--block-device-mapping", "ami=sda1", "--name", "www", "--arch", "i386")
    assert cli("bundle", raw, *KEYS, *more).out == "www.manifest.xml\n"
    text = Path("www.manifest.xml").read_text()
    for part in ("<architecture>i386<", "<kernel_id>aki-dc9ed9af<", "<virtual>ami</virtual><device>sda1</device>"):
        assert part in text


@pytest.mark.parametrize("damage", ["part", "manifest", "missing"])
def test_damage_is_found_and_nothing_is_left(cli: Cli, raw: Path, damage: str) -> None:
    assert cli("bundle", raw, "-o", "out", *KEYS).code == 0
    part, manifest = Path("out/app.part.0"), Path("out/app.manifest.xml")
    if damage == "part":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "manifest":
        manifest.write_text(manifest.read_text().replace("<user>1", "<user>2"))
    else:
        part.unlink()
    said = cli("unbundle", manifest, "--private-key", "pk.pem", "-o", "back.raw")
    assert (said.code, said.out) == (6, "")
    assert "Traceback" not in said.err
    assert not Path("back.raw").exists()
    assert not [name for name in os.listdir() if name.endswith(".imagekit")]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("app.raw",), "Missing option '--private-key'"),
        (("app.raw", *KEYS[:4], "--user", "12"), "'12' is no AWS account: those are 12 digits"),
        (("app.raw", "--private-key", "pk.pem", "--ec2-cert", "cert.pem", "--user", ACCOUNT), "the user's own"),
        (("app.raw", "--private-key", "cert.pem", *KEYS[2:]), "the private key is not a PEM file with a key"),
        (("app.raw", "--private-key", "none.pem", *KEYS[2:]), "none.pem is no file"),
        (("app.raw", "--private-key", "pk.pem", "--ec2-cert", "pk.pem", *KEYS[4:]), "no"),
        (("none.raw", *KEYS), "none.raw cannot be read"),
        (("app.raw", *KEYS, "--arch", "arm64"), "--arch arm64: one of i386 and x86_64"),
        (("app.raw", *KEYS, "--kernel", "eki"), "'eki' is not an AKI"),
        (("app.raw", *KEYS, "--block-device-mapping", "x"), "--block-device-mapping x: it is VIRTUAL=DEVICE"),
        (("app.raw", *KEYS, "--name", "a/b"), "'a/b' cannot be a bundle's name"),
        (("app.raw", *KEYS, "--secrets", "ec2.pem"), "two times 32 hexadecimal characters"),
        (("app.raw", *KEYS, "--secrets", "ec2.pem", "--reproducible"), "two sources of one key"),
    ],
)
def test_what_cannot_be_meant(cli: Cli, raw: Path, arguments: tuple[str, ...], words: str) -> None:
    assert raw.exists()
    said = cli("bundle", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "PRIVATE KEY" not in said.err
    assert not list(Path().glob("*.manifest.xml"))


def test_another_key_opens_nothing(cli: Cli, raw: Path) -> None:
    assert cli("bundle", raw, *KEYS).code == 0
    assert cli("keys", "new", "-o", "others").code == 0
    said = cli("unbundle", "app.manifest.xml", "--private-key", "others/pk.pem", "-o", "back.raw")
    assert (said.code, said.out) == (6, "")
    assert "the private key does not open this bundle" in said.err


def test_keys_are_private_and_never_written_over(cli: Cli, raw: Path) -> None:
    assert raw.exists()
    assert Path("pk.pem").stat().st_mode & 0o777 == 0o600
    run("openssl", "x509", "-in", "cert.pem", "-noout", "-checkend", "0")
    before = Path("pk.pem").read_bytes()
    said = cli("keys", "new")
    assert (said.code, said.out) == (2, "")
    assert "pk.pem is there already" in said.err
    assert Path("pk.pem").read_bytes() == before
    assert json.loads(cli("keys", "new", "-o", "more", "--json").out)["private_key"] == "more/pk.pem"


@pytest.fixture
def variables(raw: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Set what the old tools read; return what a build needs besides."""
    assert raw.exists()
    monkeypatch.setenv("EC2_PRIVATE_KEY", "pk.pem")
    monkeypatch.setenv("EC2_CERT", "cert.pem")
    monkeypatch.setenv("EC2_USER", ACCOUNT)
    return ("--set", "ami.ec2_cert=ec2.pem")


def test_built_verified_and_back(cli: Cli, hello: Path, raw: Path, variables: tuple[str, ...]) -> None:
    said = cli("build", hello, "-t", "ami", "-o", "out/", *variables)
    assert (said.code, said.out) == (0, "out/app.manifest.xml\n"), said.err
    assert sorted(os.listdir("out")) == ["app.manifest.xml", "app.manifest.xml.imagekit.json", "app.part.0"]
    again = json.loads(cli("build", hello, "-t", "ami", "-o", "out/", "--json", *variables).out)["artifacts"]
    assert [one["cached"] for one in again] == [True]
    assert cli("verify", "out/app.manifest.xml").code == 0
    assert cli("unbundle", "out/app.manifest.xml", "-o", "back.raw").code == 0
    assert Path("back.raw").read_bytes() == raw.read_bytes()
    run("e2fsck", "-fn", "back.raw")


def test_a_build_tells_no_secret(cli: Cli, hello: Path, variables: tuple[str, ...], tmp_path: Path) -> None:
    Path("aes").write_text("0123456789abcdef" * 2 + "\n" + "fedcba9876543210" * 2)
    more = ("-t", "ami", "-o", "out/", *variables, "--set", "ami.secrets=aes")
    told = ""
    for arguments in (("plan",), ("plan", "--json"), ("build", "-v", "--progress", "json"), ("build", "--json")):
        said = cli(arguments[0], hello, *more, *arguments[1:])
        assert said.code == 0, said.err
        told += said.out + said.err
    written = [path for folder in ("out", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    data = told.encode() + b"".join(path.read_bytes() for path in written if path.stat().st_size < 1 << 20)
    lines = [line for line in Path("pk.pem").read_bytes().splitlines() if not line.startswith(b"-----")]
    key, iv = (bytes.fromhex(line) for line in Path("aes").read_text().split())
    for secret in (*lines, key, iv, *Path("aes").read_bytes().split()):
        assert secret not in data


def test_what_a_plan_says_of_a_bundle(cli: Cli, hello: Path, variables: tuple[str, ...]) -> None:
    arguments = (hello, "-t", "ami", "-o", "out/", "--json", *variables)

    def bundling() -> tuple[bool, str]:
        (step,) = [one for one in json.loads(cli("plan", *arguments).out)["steps"] if one["step"] == "bundle"]
        return step["cached"], step["reason"]

    assert bundling() == (False, "out/app.manifest.xml is not there, or another")
    assert cli("build", *arguments).code == 0
    assert bundling() == (True, "in its place")


def test_what_cannot_be_built(cli: Cli, hello: Path, kernels: Path, variables: tuple[str, ...]) -> None:
    said = cli("build", hello, "-t", "ami", "-o", "out/")
    assert (said.code, said.out) == (2, "")
    assert "an AMI bundle takes EC2's certificate, which nothing names" in said.err
    said = cli("build", kernels / "hello-pvh.xen", "-t", "ami", "-o", "out/", *variables)
    assert (said.code, said.out) == (3, "")
    assert not Path("out").exists()


def test_a_lie_is_found(
    cli: Cli, hello: Path, variables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("build", hello, "-t", "ami", "-o", "out/", *variables).code == 0
    part = Path("out/app.part.0")
    good = part.read_bytes()
    part.write_bytes(good[:-20] + bytes(20))
    assert cli("verify", "out/app.manifest.xml").code == 6
    part.write_bytes(good)
    assert cli("verify", "out/app.manifest.xml").code == 0
    sidecar = Path("out/app.manifest.xml.imagekit.json")
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**told, "digest": "0" * 64}))
    assert cli("verify", "out/app.manifest.xml").code == 6
    monkeypatch.delenv("EC2_PRIVATE_KEY")
    said = cli("verify", "out/app.manifest.xml")
    assert (said.code, said.out) == (2, "")
    assert "hint: --private-key, or EC2_PRIVATE_KEY" in said.err
