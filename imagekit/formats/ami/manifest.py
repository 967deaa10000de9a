"""The manifest: written byte for byte as Amazon's own tools do, read as any of the known tools write it.

The signature is over `<machine_configuration>…</machine_configuration><image>…</image>`: its bytes in the file, or
as ec2-ami-tools (single quotes) or euca2ools (double quotes) would write these elements again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from xml.sax.saxutils import escape

from imagekit.errors import VerificationError
from imagekit.formats.ami.xml import Element, parse
from imagekit.version import __version__

VERSION = "2007-10-10"
ARCHITECTURES = ("i386", "x86_64")
SUFFIX = ".manifest.xml"
PART = 10 * 1024 * 1024
"""Bytes of a part."""

LARGEST_IMAGE = 10 << 30
"""The root device of an instance-store AMI is 10 GiB at most."""

_ALGORITHM = "AES-128-CBC"
_LARGEST = 4 << 20  # of a manifest's own bytes
_LARGEST_READ = 1 << 40  # bytes of an image that others bundled: Eucalyptus has no 10 GiB
_MOST_PARTS = 20_000
_PART_NAME = re.compile(r"[A-Za-z0-9][^/\\\x00-\x1f\x7f]{0,254}")
_SHA1 = re.compile(r"[0-9a-fA-F]{40}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){1,2048}")
_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its file's name, and the SHA-1 of its bytes, as hex."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The AES key and the IV, each encrypted for one certificate, as hex."""

    key: str
    iv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the image is to run on."""

    architecture: str
    kernel: str | None = None
    ramdisk: str | None = None
    devices: Mapping[str, str] = field(default_factory=dict)
    """Virtual name (ami, root, swap, ephemeral0) → device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A bundle's manifest, but for its signature. `digest` is the SHA-1 of the tar, `size` the image's."""

    name: str
    user: str
    machine: Machine
    digest: str
    size: int
    bundled_size: int
    ec2: Wrapped | None
    own: Wrapped | None
    parts: tuple[Part, ...]


def signed_text(manifest: Manifest) -> bytes:
    """Return the bytes that are signed."""
    return (_machine(manifest.machine) + _image(manifest)).encode()


def to_xml(manifest: Manifest, signature: bytes) -> bytes:
    """Return the file."""
    bundler = _tag("bundler", _text("name", "imagekit") + _text("version", __version__) + _text("release", "0"))
    content = _text("version", VERSION) + bundler + signed_text(manifest).decode()
    return f"<?xml version='1.0'?>{_tag('manifest', content + _text('signature', signature.hex()))}".encode()


@dataclass(frozen=True, slots=True)
class Read:
    """A manifest that was read: what it says, its signature, and what that may have been made over."""

    manifest: Manifest
    signature: bytes
    signed: tuple[bytes, ...]


def from_xml(data: bytes) -> Read:
    """Read a manifest; VerificationError for what is none, or says what cannot be."""
    if len(data) > _LARGEST:
        raise VerificationError(f"the manifest is larger than {_LARGEST >> 20} MiB: it is none")
    root = parse(data)
    if root.tag != "manifest":
        raise VerificationError(f"not a bundle's manifest: its element is {root.tag!r}")
    version = root.text_of("version")
    if version != VERSION:
        raise VerificationError(f"the manifest is of version {version!r}, not {VERSION}")
    machine, image = root.one("machine_configuration"), root.one("image")
    signed = (
        data[machine.start : machine.end] + data[image.start : image.end],
        *(f"{machine.written(quote)}{image.written(quote)}".encode() for quote in "'\""),
    )
    return Read(_manifest(machine, image), bytes.fromhex(_hex(root, "signature")), signed)


def _manifest(machine: Element, image: Element) -> Manifest:
    kind = image.text_of("type")
    if kind != "machine":
        raise VerificationError(f"the bundle is of a {kind!r}, not of a machine's image")
    size, bundled = _number(image, "size"), _number(image, "bundled_size")
    if not 0 < size <= _LARGEST_READ:
        raise VerificationError(f"the manifest says that the image has {size} bytes")
    return Manifest(
        name=image.text_of("name"),
        user=image.text_of("user"),
        machine=Machine(
            architecture=machine.text_of("architecture"),
            kernel=machine.text_of("kernel_id", None),
            ramdisk=machine.text_of("ramdisk_id", None),
            devices=dict(_devices(machine)),
        ),
        digest=_sha1(image),
        size=size,
        bundled_size=bundled,
        ec2=_wrapped(image, "ec2"),
        own=_wrapped(image, "user"),
        parts=_parts(image.one("parts")),
    )


def _devices(machine: Element) -> Iterator[tuple[str, str]]:
    for mappings in machine.all("block_device_mapping"):
        for mapping in mappings.all("mapping"):
            yield mapping.text_of("virtual"), mapping.text_of("device")


def _wrapped(image: Element, whose: str) -> Wrapped | None:
    found = image.all(f"{whose}_encrypted_key")
    if not found or not found[0].text:
        return None
    algorithm = found[0].attributes.get("algorithm")
    if algorithm != _ALGORITHM:
        raise VerificationError(f"the bundle is encrypted by {algorithm!r}, not by {_ALGORITHM}")
    return Wrapped(_hex(image, f"{whose}_encrypted_key"), _hex(image, f"{whose}_encrypted_iv"))


def _parts(parts: Element) -> tuple[Part, ...]:
    found: dict[int, Part] = {}
    for part in parts.all("part"):
        index, name = part.attributes.get("index", ""), part.text_of("filename")
        if not _NUMBER.fullmatch(index) or int(index) in found:
            raise VerificationError(f"a part has the index {index!r}, which is none or another's")
        if not _PART_NAME.fullmatch(name):
            raise VerificationError(f"a part has the name {name!r}, which is no plain file name")
        found[int(index)] = Part(name, _sha1(part))
    count = parts.attributes.get("count", "")
    if not _NUMBER.fullmatch(count) or not 0 < int(count) <= _MOST_PARTS:
        raise VerificationError(f"the manifest counts {count!r} parts")
    if sorted(found) != list(range(int(count))):
        raise VerificationError(f"the manifest counts {count} parts, and names {len(found)}")
    if len({part.name for part in found.values()}) != len(found):
        raise VerificationError("two parts have one name")
    return tuple(found[index] for index in sorted(found))


def _sha1(element: Element) -> str:
    digest = element.one("digest")
    algorithm, text = digest.attributes.get("algorithm", ""), digest.text
    if algorithm.upper() != "SHA1" or not _SHA1.fullmatch(text):
        raise VerificationError(f"a digest in the manifest is no SHA1: {algorithm} {text[:60]!r}")
    return text.lower()


def _hex(element: Element, tag: str) -> str:
    text = element.text_of(tag)
    if not _HEX.fullmatch(text):
        raise VerificationError(f"the manifest's {tag} is no hexadecimal text")
    return text


def _number(element: Element, tag: str) -> int:
    text = element.text_of(tag)
    if not _NUMBER.fullmatch(text):
        raise VerificationError(f"the manifest's {tag} is no number: {text[:60]!r}")
    return int(text)


def _machine(machine: Machine) -> str:
    devices = "".join(
        _tag("mapping", _text("virtual", virtual) + _text("device", device))
        for virtual, device in sorted(machine.devices.items())
    )
    return _tag(
        "machine_configuration",
        _text("architecture", machine.architecture)
        + (_tag("block_device_mapping", devices) if devices else "")
        + (_text("kernel_id", machine.kernel) if machine.kernel else "")
        + (_text("ramdisk_id", machine.ramdisk) if machine.ramdisk else ""),
    )


def _image(manifest: Manifest) -> str:
    ec2, own = cast("Wrapped", manifest.ec2), cast("Wrapped", manifest.own)
    parts = "".join(
        _tag(
            "part", _text("filename", part.name) + _text("digest", part.digest, algorithm="SHA1"), index=str(index)
        )
        for index, part in enumerate(manifest.parts)
    )
    return _tag(
        "image",
        _text("name", manifest.name)
        + _text("user", manifest.user)
        + _text("type", "machine")  # must follow the user
        + _text("digest", manifest.digest, algorithm="SHA1")
        + _text("size", str(manifest.size))
        + _text("bundled_size", str(manifest.bundled_size))
        + _text("ec2_encrypted_key", ec2.key, algorithm=_ALGORITHM)
        + _text("user_encrypted_key", own.key, algorithm=_ALGORITHM)
        + _text("ec2_encrypted_iv", ec2.iv)
        + _text("user_encrypted_iv", own.iv)
        + _tag("parts", parts, count=str(len(manifest.parts))),
    )


def _text(tag: str, text: str, **attributes: str) -> str:
    return _tag(tag, escape(text), **attributes)


def _tag(tag: str, content: str, **attributes: str) -> str:
    head = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<{tag}{head}>{content}</{tag}>"
