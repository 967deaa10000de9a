"""AMI bundles in S3, as RegisterImage reads them."""

import re
from dataclasses import dataclass
from hashlib import sha1
from xml.etree import ElementTree as ET

from imagekit.rehearsal.cloud import Store, Stored
from imagekit.rehearsal.query import NotDoneError

_PART = 10 * 1024 * 1024
_NEEDED = (
    "version",
    "bundler/name",
    "machine_configuration/architecture",
    "image/name",
    "image/user",
    "image/type",
    "image/digest",
    "image/size",
    "image/bundled_size",
    "image/ec2_encrypted_key",
    "image/user_encrypted_key",
    "image/ec2_encrypted_iv",
    "image/user_encrypted_iv",
    "image/parts",
    "signature",
)
_ORDER = [
    "name",
    "user",
    "type",
    "digest",
    "size",
    "bundled_size",
    "ec2_encrypted_key",
    "user_encrypted_key",
    "ec2_encrypted_iv",
    "user_encrypted_iv",
    "parts",
]
_HEX = re.compile(r"([0-9a-f]{2})+")
_QUOTED_TWICE = re.compile(rb"<[A-Za-z_][^<>]*=\s*\"")


@dataclass(frozen=True)
class Bundle:
    """What a manifest says of the image."""

    architecture: str
    kernel: str
    ramdisk: str
    root: str


def read_bundle(store: Store, location: str, region: str, owner: str) -> Bundle:
    """Check a manifest in S3 and the parts that it names; NotDoneError says what is wrong."""
    bucket, _, key = location.strip("/").partition("/")
    if not bucket or not key:
        raise NotDoneError("InvalidManifest", f"The image location {location} is not BUCKET/MANIFEST")
    data = _fetch(store, bucket, key, region).data
    manifest = _parse(data)
    if _text(manifest, "image/user").replace("-", "") != owner:
        raise NotDoneError("AuthFailure", "The user in the manifest is not the account that registers it", 403)
    _check_parts(store, bucket, key.rpartition("/")[0], region, manifest)
    machine = manifest.find("machine_configuration")
    mappings = [] if machine is None else machine.findall("block_device_mapping/mapping")
    roots = [one.findtext("device", "") for one in mappings if one.findtext("virtual") == "root"]
    return Bundle(
        _text(manifest, "machine_configuration/architecture"),
        manifest.findtext("machine_configuration/kernel_id", ""),
        manifest.findtext("machine_configuration/ramdisk_id", ""),
        roots[0] if roots else "",
    )


def _fetch(store: Store, bucket: str, key: str, region: str) -> Stored:
    where = f"http://s3.amazonaws.com:80/{bucket}/{key}"
    found = store.read(bucket, key)
    if found is None:
        message = f"HTTP 404 (Not Found) response for URL {where}: check your manifest path is correct"
        raise NotDoneError("InvalidManifest", f"{message} and in the correct region.")
    if found.region != region:
        message = f"HTTP 301 (Moved Permanently) response for URL {where}: check your manifest path is correct"
        raise NotDoneError("InvalidManifest", f"{message} and in the correct region.")
    if not found.readable:
        message = f"HTTP 403 (Forbidden) response for URL {where}: check your S3 ACLs are correct."
        raise NotDoneError("InvalidManifest", message)
    return found


def _parse(data: bytes) -> ET.Element:
    if _QUOTED_TWICE.search(data.partition(b"?>")[2]):
        raise _wrong("an attribute stands in double quotes: its signature cannot hold")
    try:
        manifest = ET.fromstring(data)  # noqa: S314 -- the caller's own, on loopback
    except ET.ParseError as error:
        raise _wrong(f"it is no XML: {error}") from None
    if manifest.tag != "manifest":
        raise _wrong("its root is not <manifest>")
    for path in _NEEDED:
        _text(manifest, path)
    image = manifest.find("image")
    if image is None or [one.tag for one in image] != _ORDER:
        raise _wrong("the elements of <image> are not those that there are, in their order")
    for path in _NEEDED[-6:-2]:
        if not _HEX.fullmatch(_text(manifest, path)):
            raise _wrong(f"<{path.rpartition('/')[2]}> is no lower-case hexadecimal")
    if not _HEX.fullmatch(_text(manifest, "signature")):
        raise _wrong("<signature> is no lower-case hexadecimal")
    if _text(manifest, "machine_configuration/architecture") not in {"i386", "x86_64"}:
        raise _wrong("its architecture is neither i386 nor x86_64")
    return manifest


def _check_parts(store: Store, bucket: str, prefix: str, region: str, manifest: ET.Element) -> None:
    listed = manifest.findall("image/parts/part")
    count = manifest.find("image/parts")
    if not listed or count is None or count.get("count") != str(len(listed)):
        raise _wrong("the count of parts is not the number of parts")
    total = 0
    for at, part in enumerate(listed):
        name = _text(part, "filename")
        if part.get("index") != str(at) or "/" in name:
            raise _wrong(f"part {at} is out of order, or has no name of a file")
        stored = _fetch(store, bucket, f"{prefix}/{name}" if prefix else name, region)
        size = len(stored.data)
        if size > _PART or (size != _PART and at != len(listed) - 1):
            raise _wrong(f"part {name} has {size} bytes")
        if sha1(stored.data, usedforsecurity=False).hexdigest() != _text(part, "digest"):
            raise _wrong(f"part {name} does not have the digest that the manifest says")
        total += size
    if str(total) != _text(manifest, "image/bundled_size"):
        raise _wrong(f"the parts have {total} bytes")


def _text(element: ET.Element, path: str) -> str:
    found = element.find(path)
    text = "" if found is None else (found.text or "").strip()
    if found is None or not (text or len(found)):
        raise _wrong(f"<{path}> is missing")
    return text


def _wrong(why: str) -> NotDoneError:
    return NotDoneError("InvalidManifest", f"The manifest is invalid: {why}")
