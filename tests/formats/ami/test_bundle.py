"""Bundling: what openssl, sha1sum, gzip and GNU tar read in it, and that it comes back."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from imagekit.command import run
from imagekit.errors import UsageError
from imagekit.formats import ami
from imagekit.formats.ami import folder as its_folder
from tests.formats.ami.conftest import MIB, SECRETS, Pair

MACHINE = ami.Machine(architecture="x86_64", kernel="aki-919dcaf8", devices={"root": "/dev/sda1", "ami": "sda1"})


@pytest.fixture
def manifest(image: Path, tmp_path: Path, owner: ami.Owner) -> Path:
    return ami.bundle(image, tmp_path / "out", "app", MACHINE, owner, SECRETS)


def element(manifest: Path, path: str) -> str:
    found = ET.parse(manifest).find(path)  # noqa: S314 -- our own
    assert found is not None
    assert found.text is not None
    return found.text


def stream(manifest: Path) -> bytes:
    parts = sorted(manifest.parent.glob("*.part.*"), key=lambda path: int(path.suffix[1:]))
    return b"".join(path.read_bytes() for path in parts)


def opened(manifest: Path) -> bytes:
    """Return the tar, by openssl and gzip."""
    key, iv = SECRETS.key.hex(), SECRETS.iv.hex()
    zipped = run("openssl", "enc", "-d", "-aes-128-cbc", "-K", key, "-iv", iv, stdin=stream(manifest)).stdout
    return run("gzip", "-dc", stdin=zipped).stdout


def test_it_comes_back(manifest: Path, image: Path, own: Pair, tmp_path: Path) -> None:
    out = tmp_path / "back.raw"
    ami.unbundle(manifest, out, own.private)
    assert out.read_bytes() == image.read_bytes()
    assert out.stat().st_blocks * 512 < 14 * MIB
    assert sorted(os.listdir(manifest.parent)) == ["app.manifest.xml", "app.part.0", "app.part.1"]


def test_parts_by_sha1sum(manifest: Path) -> None:
    parts = ET.parse(manifest).findall("image/parts/part")  # noqa: S314 -- our own
    lines = "".join(f"{part.findtext('digest')}  {part.findtext('filename')}\n" for part in parts)
    assert run("sha1sum", "-c", cwd=manifest.parent, stdin=lines.encode()).text().count(": OK") == 2
    assert (manifest.parent / "app.part.0").stat().st_size == 10 * MIB
    assert int(element(manifest, "image/bundled_size")) == len(stream(manifest))


def test_the_signature_and_the_keys_by_openssl(manifest: Path, own: Pair, ec2: Pair, tmp_path: Path) -> None:
    text = manifest.read_text()
    signed = re.search("<machine_configuration>.*</machine_configuration><image>.*</image>", text)
    assert signed
    (tmp_path / "signature").write_bytes(bytes.fromhex(element(manifest, "signature")))
    (tmp_path / "public.pem").write_bytes(
        run("openssl", "x509", "-in", own.certificate_file, "-noout", "-pubkey").stdout
    )
    public, signature = tmp_path / "public.pem", tmp_path / "signature"
    verify = ("dgst", "-sha1", "-verify", public, "-signature", signature)
    assert run("openssl", *verify, stdin=signed[0].encode()).text() == "Verified OK\n"
    for whose, pair in (("user", own), ("ec2", ec2)):
        for what, value in (("key", SECRETS.key), ("iv", SECRETS.iv)):
            data = bytes.fromhex(element(manifest, f"image/{whose}_encrypted_{what}"))
            decrypt = ("pkeyutl", "-decrypt", "-inkey", pair.key_file)
            assert run("openssl", *decrypt, stdin=data).text() == value.hex()


def test_the_tar_by_gnu_tar(manifest: Path, image: Path, tmp_path: Path) -> None:
    tar = opened(manifest)
    assert len(tar) < 13 * MIB
    (tmp_path / "in").mkdir()
    (tmp_path / "t.tar").write_bytes(tar)
    listed = run("tar", "-tvf", tmp_path / "t.tar").text()
    assert re.fullmatch(r"-rw-r--r-- root/root +50332648 1970-01-01 00:00 app\n", listed)
    run("tar", "-xSf", tmp_path / "t.tar", "-C", tmp_path / "in")
    assert (tmp_path / "in" / "app").read_bytes() == image.read_bytes()
    assert run("sha1sum", stdin=tar).text().split()[0] == element(manifest, "image/digest")


def test_the_manifest_is_as_amazon_writes_it(manifest: Path) -> None:
    text = manifest.read_text()
    assert text.startswith(
        "<?xml version='1.0'?><manifest><version>2007-10-10</version><bundler><name>imagekit</name>"
    )
    assert (
        "<machine_configuration><architecture>x86_64</architecture><block_device_mapping><mapping>"
        "<virtual>ami</virtual><device>sda1</device></mapping><mapping><virtual>root</virtual>"
        "<device>/dev/sda1</device></mapping></block_device_mapping><kernel_id>aki-919dcaf8</kernel_id>"
        "</machine_configuration><image><name>app</name><user>123456789012</user><type>machine</type>"
        "<digest algorithm='SHA1'>"
    ) in text
    assert '"' not in text
    assert not re.search(r">\s+<", text)
    assert re.search("</user_encrypted_iv><parts count='2'><part index='0'><filename>app.part.0</filename>", text)
    assert re.search("</parts></image><signature>[0-9a-f]{512}</signature></manifest>$", text)


def test_the_same_bytes_every_time(
    manifest: Path, image: Path, owner: ami.Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = tmp_path / "dense"  # the same bytes without holes, on one thread
    dense.write_bytes(image.read_bytes())
    monkeypatch.setattr("imagekit.formats.ami.gzip._THREADS", 1)
    again = ami.bundle(dense, tmp_path / "again", "app", MACHINE, owner, SECRETS)
    assert {path.name: path.read_bytes() for path in again.parent.iterdir()} == {
        path.name: path.read_bytes() for path in manifest.parent.iterdir()
    }


def test_another_key_gives_other_bytes(manifest: Path, image: Path, owner: ami.Owner, tmp_path: Path) -> None:
    again = ami.bundle(image, tmp_path / "again", "app", MACHINE, owner, ami.random_secrets())
    assert stream(again)[:1000] != stream(manifest)[:1000]


def test_derived_secrets(own: Pair, ec2: Pair) -> None:
    secrets = ami.derived_secrets(own.private, "app", "0" * 64)
    assert secrets == ami.derived_secrets(own.private, "app", "0" * 64)
    others = [(ec2.private, "app", "0"), (own.private, "app2", "0"), (own.private, "app", "1")]
    assert all(ami.derived_secrets(private, name, 64 * digit) != secrets for private, name, digit in others)
    assert secrets.key.hex() not in repr(secrets)


def test_parts_are_numbered_in_one_width(
    image: Path, owner: ami.Owner, own: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(its_folder, "PART", MIB)
    out = tmp_path / "out"
    manifest = ami.bundle(image, out, "app", MACHINE, owner, SECRETS)
    assert sorted(path.name for path in out.glob("*.part.*")) == [f"app.part.{index:02}" for index in range(12)]
    ami.unbundle(manifest, tmp_path / "back", own.private)
    monkeypatch.setattr(its_folder, "PART", 10 * MIB)
    (out / "app.part.txt").touch()
    ami.bundle(image, out, "app", MACHINE, owner, SECRETS)
    assert sorted(os.listdir(out)) == ["app.manifest.xml", "app.part.0", "app.part.1", "app.part.txt"]


def test_a_stream_of_whole_parts_has_no_empty_part(
    image: Path, owner: ami.Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Path
) -> None:
    length = len(stream(manifest))
    size = next(size for size in range(length // 16, length) if length % size == 0)
    monkeypatch.setattr(its_folder, "PART", size)
    again = ami.bundle(image, tmp_path / "again", "app", MACHINE, owner, SECRETS)
    sizes = [path.stat().st_size for path in again.parent.glob("*.part.*")]
    assert sizes == [size] * (length // size)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 512 * 1024, MIB + 1])
@pytest.mark.parametrize("full", [False, True])
def test_small_images(size: int, full: bool, owner: ami.Owner, own: Pair, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes([int(full)]) * size)
    manifest = ami.bundle(image, tmp_path / "out", "app", MACHINE, owner, SECRETS)
    (tmp_path / "t.tar").write_bytes(opened(manifest))
    assert run("tar", "-xOf", tmp_path / "t.tar").stdout == image.read_bytes()
    ami.unbundle(manifest, tmp_path / "back", own.private)
    assert (tmp_path / "back").read_bytes() == image.read_bytes()


def test_offsets_beyond_8_gib(owner: ami.Owner, own: Pair, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.seek(9 << 30)
        file.write(b"far away")
        file.truncate(10 << 30)
    manifest = ami.bundle(image, tmp_path / "out", "app", MACHINE, owner, SECRETS)
    (tmp_path / "t.tar").write_bytes(opened(manifest))
    run("tar", "-xSf", tmp_path / "t.tar", "-C", tmp_path)
    ami.unbundle(manifest, tmp_path / "back", own.private)
    for path in (tmp_path / "app", tmp_path / "back"):
        assert path.stat().st_size == 10 << 30
        assert path.stat().st_blocks * 512 < 2 * MIB
        with path.open("rb") as file:
            file.seek(9 << 30)
            assert file.read(9) == b"far away\0"


@pytest.mark.parametrize("size, why", [(0, "0 bytes"), ((10 << 30) + 1, "10 GiB at most")])
def test_sizes_that_instance_store_has_not(size: int, why: str, owner: ami.Owner, tmp_path: Path) -> None:
    with (tmp_path / "image").open("wb") as file:
        file.truncate(size)
    with pytest.raises(UsageError, match=why):
        ami.bundle(tmp_path / "image", tmp_path / "out", "app", MACHINE, owner, SECRETS)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["", "../app", "a/b", ".app", "a" * 64, "ä", "a b"])
def test_names_that_parts_cannot_have(name: str, image: Path, owner: ami.Owner, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a bundle's name"):
        ami.bundle(image, tmp_path / "out", name, MACHINE, owner, SECRETS)


def test_a_killed_bundling_is_swept_up(image: Path, owner: ami.Owner, tmp_path: Path) -> None:
    dead = tmp_path / "out" / ".app.4711.1.imagekit"
    dead.mkdir(parents=True)
    (dead / "0").write_bytes(b"left")
    ami.bundle(image, tmp_path / "out", "app", MACHINE, owner, SECRETS)
    assert not dead.exists()
