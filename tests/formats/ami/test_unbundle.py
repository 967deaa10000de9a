"""Unbundling: what other tools made, and what nobody should have."""

import gzip as its_gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import ImagekitError, UsageError, VerificationError
from imagekit.formats import ami
from imagekit.formats.ami import gzip, keys, tar
from imagekit.formats.ami.bundle import image_of
from imagekit.formats.ami.manifest import Machine, Manifest, from_xml
from imagekit.formats.stream import Stream
from tests.formats.ami.conftest import MIB, SECRETS, Otherwise, Pair, left_over

GOLDEN = Path(__file__).with_name("golden")
IMAGE = b"start" + bytes(3 * MIB) + b"end of it"


def packed(*arguments: str, folder: Path, content: bytes = IMAGE) -> bytes:
    """Return a tar that GNU tar made of the image."""
    image = folder / "the-image"
    with image.open("wb") as file:
        for at in range(0, len(content), 4096):
            if content[at : at + 4096].strip(b"\0"):
                file.seek(at)
                file.write(content[at : at + 4096])
        file.truncate(len(content))
    return run("tar", "-c", *arguments, "-C", folder, "the-image").stdout


def test_a_bundle_by_euca2ools() -> None:
    """golden/ was made by euca-bundle-image of euca2ools 3.4 with a key that is thrown away by being here."""
    manifest = from_xml((GOLDEN / "golden.raw.manifest.xml").read_bytes()).manifest
    assert manifest.machine == Machine(
        architecture="i386", kernel="eki-12345678", devices={"ami": "sda1", "root": "/dev/sda1"}
    )


def test_an_image_by_euca2ools(tmp_path: Path) -> None:
    private = ami.private_key((GOLDEN / "pk.pem").read_bytes())
    ami.unbundle(GOLDEN / "golden.raw.manifest.xml", tmp_path / "image", private)
    assert (tmp_path / "image").read_bytes() == b"imagekit" * 512 + bytes(200 * 1024) + b"end of the image"


def test_text_between_elements(otherwise: Otherwise) -> None:
    lie = otherwise(python_tar(), len(IMAGE), after=lambda text: text.replace("<image>", "<image><!-- -->x"))
    refused(lie, "text between the elements of image")


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("options", [("-S",), (), ("-S", "-b", "64"), ("--format=ustar",)])
def test_what_gnu_tar_makes(otherwise: Otherwise, quote: str, options: tuple[str, ...], tmp_path: Path) -> None:
    assert otherwise(packed(*options, folder=tmp_path), len(IMAGE), quote=quote).unbundle() == IMAGE


def test_a_sparse_map_of_many_runs(otherwise: Otherwise, tmp_path: Path) -> None:
    image = (b"data".ljust(4096, b"\0") + bytes(8192)) * 300
    made = packed("-S", folder=tmp_path, content=image)
    assert made[482]  # the map goes on after the header
    assert otherwise(made, len(image)).unbundle() == image


@pytest.mark.parametrize(
    "form, length",
    [
        *((form, length) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT) for length in (1, 99, 100, 200)),
        *((tarfile.USTAR_FORMAT, length) for length in (1, 99, 100)),
    ],
)
def test_what_python_makes(otherwise: Otherwise, form: int, length: int) -> None:
    name = "x" * length
    assert otherwise(python_tar(name, form), len(IMAGE)).unbundle() == IMAGE


def python_tar(
    name: str = "x", form: int = tarfile.GNU_FORMAT, kind: bytes = tarfile.REGTYPE, count: int = 1
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for _ in range(count):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            info.size = len(IMAGE) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(IMAGE))
    return buffer.getvalue()


def test_pretty_manifests(otherwise: Otherwise) -> None:
    made = python_tar()
    pretty = otherwise(made, len(IMAGE), after=lambda text: text.replace("><", ">\n  <"))
    assert pretty.unbundle() == IMAGE
    requoted = otherwise(made, len(IMAGE), after=lambda text: text.replace('"', "'"))
    assert requoted.unbundle() == IMAGE


def test_an_empty_last_part_and_other_names(otherwise: Otherwise) -> None:
    made = python_tar()
    length = len(b"".join(keys.encrypt(iter([its_gzip.compress(made, mtime=0)]), SECRETS)))
    other = otherwise(
        made, len(IMAGE), packed=its_gzip.compress(made, mtime=0), part=length, part_name="other {index}"
    )
    assert other.unbundle() == IMAGE


def test_several_gzip_members(otherwise: Otherwise) -> None:
    made = python_tar()
    members = b"".join(its_gzip.compress(made[at : at + 100_000]) for at in range(0, len(made), 100_000))
    assert otherwise(made, len(IMAGE), packed=members).unbundle() == IMAGE


# --- what is refused ---


def sparse(
    size: int = MIB, runs: tuple[tuple[int, int], ...] = ((0, 512),), *, rest: bytes | None = None
) -> bytes:
    start = tar.start("x", size, runs)
    data = bytes([7]) * sum(length for _, length in runs) if rest is None else rest
    return start + data + tar.end(len(start) + len(data))


def refused(other: "object", match: str) -> None:
    from tests.formats.ami.conftest import Other  # noqa: PLC0415

    assert isinstance(other, Other)
    with pytest.raises(VerificationError, match=match):
        other.unbundle()
    assert left_over(other.manifest.parent) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, b"1", b"9"])
def test_members_that_are_no_file(otherwise: Otherwise, kind: bytes) -> None:
    refused(otherwise(python_tar(kind=kind), len(IMAGE)), "no file")


def test_tricks_of_tars(otherwise: Otherwise) -> None:
    refused(otherwise(python_tar(count=2), len(IMAGE)), "goes on after the image")
    refused(otherwise(python_tar() + python_tar(), len(IMAGE)), "goes on after the image")
    refused(otherwise(python_tar()[:-10240], len(IMAGE)), "ends too early|no end")
    refused(otherwise(python_tar()[: MIB + 5], len(IMAGE)), "ends too early")
    refused(otherwise(bytes(10240), len(IMAGE)), "not a tar")
    refused(otherwise(b"x" * 10240, len(IMAGE)), "not a tar")
    refused(otherwise(b"", len(IMAGE)), "ends too early")
    refused(otherwise(python_tar(), len(IMAGE) + 1), "the manifest says")
    refused(otherwise(sparse(), 2 * MIB), "the manifest says")
    pax = tarfile.TarInfo("x")
    pax.pax_headers = {"GNU.sparse.major": "1"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(pax)
    refused(otherwise(buffer.getvalue(), len(IMAGE)), "PAX form")


@pytest.mark.parametrize(
    "runs",
    [
        ((0, 512), (0, 512)),
        ((1024, 512), (0, 512)),
        ((0, 1024), (512, 512)),
        ((MIB, 512),),
        ((MIB - 512, 1024),),
        ((1 << 62, 512),),
        ((0, 100), (512, 512)),
        (*((at, 512) for at in range(0, 1024 * 40, 1024)), (0, 512)),
    ],
)
def test_sparse_maps_that_lie(otherwise: Otherwise, runs: tuple[tuple[int, int], ...]) -> None:
    refused(otherwise(sparse(runs=runs), MIB), "sparse map")


def test_a_sparse_map_without_end(otherwise: Otherwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "_MOST_RUNS", 100)
    runs = tuple((at, 512) for at in range(0, 1024 * 300, 1024))
    refused(otherwise(sparse(runs=runs), MIB), "more than 100 runs")


def test_gzip_bombs_are_bounded(otherwise: Otherwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "OVERHEAD", MIB)
    bomb = python_tar() + bytes(50 * MIB)
    refused(otherwise(bomb, len(IMAGE)), "more than the manifest says")


def test_gzip_that_is_damaged(otherwise: Otherwise) -> None:
    made = python_tar()
    zipped = its_gzip.compress(made)
    refused(otherwise(made, len(IMAGE), packed=zipped[:-9]), "ends too early")
    refused(otherwise(made, len(IMAGE), packed=zipped[:-6] + b"x" + zipped[-5:]), "no gzip, or damaged")
    refused(otherwise(made, len(IMAGE), packed=made), "no gzip, or damaged")
    refused(otherwise(made, len(IMAGE), packed=zipped + b"tail"), "damaged|ends too early")


def test_streams_that_are_cut(otherwise: Otherwise) -> None:
    made = python_tar()
    refused(otherwise(made, len(IMAGE), stream=lambda data: data[:-5]), "cut off or damaged")
    refused(otherwise(made, len(IMAGE), stream=lambda data: data[:-16]), "cut off|ends too early")
    refused(otherwise(made, len(IMAGE), stream=lambda _: b""), "cut off")


@pytest.mark.parametrize(
    "name",
    [
        "../x.{index}",
        "/etc/x.{index}",
        "..",
        "",
        ".{index}",
        "a\\b{index}",
        "a&#10;{index}",
        "a/b{index}",
        "-{index}",
    ],
)
def test_part_names_that_escape(otherwise: Otherwise, name: str) -> None:
    refused(otherwise(python_tar(), len(IMAGE), part_name=name, part=MIB), "no plain file name")


def test_two_parts_of_one_name(otherwise: Otherwise) -> None:
    refused(otherwise(python_tar(), len(IMAGE), part_name="same", part=1024), "one name")


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("<size>3", "<size>9", "the manifest says"),
        ("<size>3", "<size>-3", "no number"),
        ("<size>3", "<size>999999999", "has 9999"),
        ('algorithm="AES-128-CBC"', 'algorithm="ROT13"', "encrypted by"),
        ("<type>machine", "<type>kernel", "not of a machine"),
        ('<digest algorithm="SHA1">', '<digest algorithm="MD5">', "no SHA1"),
        ('index="0"', 'index="1"', "counts"),
        ('index="0"', 'index="7"', "counts"),
        ('index="0"', 'index="x"', "index"),
        ('count="', 'count="9', "counts"),
        ('count="', 'count="99999', "counts"),
        ("<name>x</name>", "<name>x</name><size>1</size>", "2 size"),
        ("<user>", "<user/><user>", "2 user"),
        ("<bundled_size>", "<bundled_size>1", "one of them is cut off"),
        ("<image>", "<image/><image>", "2 image"),
        ("<user_encrypted_iv>", "<user_encrypted_iv>zz", "hexadecimal"),
    ],
)
def test_manifests_that_lie(otherwise: Otherwise, old: str, new: str, why: str) -> None:
    other = otherwise(python_tar(), len(IMAGE), edit=lambda text: text.replace(old, new), part=1 << 20)
    with pytest.raises(VerificationError) as caught:
        other.unbundle()
    assert why in str(caught.value)
    assert left_over(other.manifest.parent) == []


@pytest.mark.parametrize(
    "old, new",
    [("i386", "x86_64"), ("<user>1", "<user>2"), ("<image>", "<image><x/>"), ("<name>x", "<name>y")],
)
def test_a_changed_manifest(otherwise: Otherwise, old: str, new: str) -> None:
    refused(otherwise(python_tar(), len(IMAGE), after=lambda text: text.replace(old, new)), "signature is wrong")


@pytest.mark.parametrize(
    "text, why",
    [
        (b"", "no XML"),
        (b"\0" * 100, "no XML"),
        (b"<manifest>", "no XML"),
        (b"<html/>", "not a bundle's manifest"),
        (b"<manifest><version>1</version></manifest>", "version"),
        (b"<manifest><version>2007-10-10</version></manifest>", "no machine_configuration"),
        (b'<!DOCTYPE m [<!ENTITY a "b">]><manifest>&a;</manifest>', "document type"),
        (b'<!DOCTYPE m SYSTEM "file:///etc/passwd"><manifest/>', "document type"),
        (b"<a>" * 17, "beyond all measure"),
        (b"<a>" + b"<b/>" * 100_001 + b"</a>", "beyond all measure"),
        (b"<a>" + b" " * (4 << 20) + b"</a>", "larger than 4 MiB"),
        (b"<?xml version='1.0' encoding='klingon'?><a/>", "no XML"),
        (b"<manifest>&undefined;</manifest>", "no XML"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, own: Pair, text: bytes, why: str) -> None:
    (tmp_path / "m.xml").write_bytes(text)
    with pytest.raises(VerificationError, match=why):
        ami.unbundle(tmp_path / "m.xml", tmp_path / "image", own.private)
    assert not (tmp_path / "image").exists()


def test_another_key(otherwise: Otherwise, ec2: Pair) -> None:
    refused(otherwise(python_tar(), len(IMAGE))._replace(private=ec2.private), "does not open this bundle")


def test_parts_that_are_not_there_or_others(otherwise: Otherwise) -> None:
    other = otherwise(python_tar(), len(IMAGE), part=1024)
    part = other.manifest.with_name("x.part.01")
    good = part.read_bytes()
    part.write_bytes(good[:-1])
    refused(other, "one of them is cut off|the parts have")
    part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(other, r"x\.part\.01 is damaged|damaged|ends too early")
    part.unlink()
    refused(other, "cannot be read")
    part.mkdir()
    refused(other, "no plain file")


def test_the_output_is_no_file_of_the_bundle(otherwise: Otherwise) -> None:
    other = otherwise(python_tar(), len(IMAGE))
    for path in (other.manifest, other.manifest.with_name("x.part.00")):
        with pytest.raises(UsageError, match="file of the bundle"):
            ami.unbundle(other.manifest, path, other.private)
        assert path.stat().st_size


def test_what_was_there_stays(otherwise: Otherwise) -> None:
    other = otherwise(python_tar(), len(IMAGE) + 1)
    other.out().write_bytes(b"precious")
    with pytest.raises(VerificationError):
        other.unbundle()
    assert other.out().read_bytes() == b"precious"


# --- properties ---

RUNS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=60)


@given(RUNS, st.integers(0, 511))
def test_any_sparse_tar_comes_back(gaps: list[tuple[int, int]], tail: int) -> None:
    runs, at = [], 0
    for gap, length in gaps:
        runs.append(((at + gap) * 512, length * 512))
        at += gap + length
    size = at * 512 + tail + 1
    data = {run: bytes([1 + number % 255]) * run[1] for number, run in enumerate(runs)}
    whole = tar.start("name", size, runs) + b"".join(data.values())
    whole += tar.end(len(whole))
    back = dict(tar.read(Stream(iter([whole[:700], whole[700:]]), "it"), size))
    image = bytearray(size)
    theirs = bytearray(size)
    for (offset, _), piece in data.items():
        image[offset : offset + len(piece)] = piece
    for offset, piece in back.items():
        theirs[offset : offset + len(piece)] = piece
    assert theirs == image
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        member = archive.extractfile("name")
        assert member is not None
        assert member.read() == image


@given(st.lists(st.binary(max_size=3000)), st.integers(1, 5000))
def test_gzip_and_cipher_come_back(pieces: list[bytes], cut: int) -> None:
    stream = b"".join(keys.encrypt(gzip.pack(iter(pieces)), SECRETS))
    received = (stream[at : at + cut] for at in range(0, len(stream), cut))
    whole = b"".join(pieces)
    assert b"".join(gzip.unpack(keys.decrypt(received, SECRETS), len(whole))) == whole
    zipped = b"".join(gzip.pack(iter(pieces)))
    assert its_gzip.decompress(zipped) == whole


@settings(max_examples=300)
@given(st.data())
def test_damaged_tars_are_refused_or_bounded(data: st.DataObject) -> None:
    whole = bytearray(sparse(runs=tuple((at, 512) for at in range(0, 1024 * 30, 1024))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # with a checksum that is right
        whole[148:156] = b"%06o\0 " % (sum(whole[:148]) + sum(whole[156:512]) + 256)
    try:
        for offset, piece in tar.read(Stream(iter([bytes(whole)]), "it"), MIB):
            assert 0 <= offset <= offset + len(piece) <= MIB
    except VerificationError:
        pass


@settings(max_examples=300)
@given(st.data())
def test_damaged_manifests_are_refused(data: st.DataObject) -> None:
    good = (GOLDEN / "golden.raw.manifest.xml").read_bytes()
    text = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    try:
        read = from_xml(bytes(text))
    except VerificationError:
        return
    private = ami.private_key((GOLDEN / "pk.pem").read_bytes())
    signed = [text for text in read.signed if keys.is_signed(text, read.signature, private.public_key())]
    assert not signed or read.manifest == from_xml(good).manifest


@settings(max_examples=100)
@given(st.data())
def test_damaged_streams_are_refused(data: st.DataObject) -> None:
    made = sparse()
    stream = bytearray(b"".join(keys.encrypt(gzip.pack(iter([made])), SECRETS)))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    manifest = Manifest(
        name="x",
        user="1" * 12,
        machine=Machine(architecture="i386"),
        digest="0" * 40,
        size=MIB,
        bundled_size=len(stream),
        ec2=None,
        own=None,
        parts=(),
    )
    with pytest.raises(ImagekitError):
        list(image_of(iter([bytes(stream)]), manifest, SECRETS))
