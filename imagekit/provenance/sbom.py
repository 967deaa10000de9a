"""The SBOM of an artifact: CycloneDX 1.6, JSON, by CycloneDX's own library.

Nothing in it tells when or where it was made: its time is SOURCE_DATE_EPOCH, its serial number a UUID of version 5
over all that it says.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from imagekit.extras import missing
from imagekit.plan import Json
from imagekit.provenance.contents import Contents
from imagekit.provenance.packages import Package
from imagekit.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:imagekit:sbom:v1")
_FACTS = ("guest_os", "guest_version", "xen_version", "loader", "kind", "machine", "container", "payload")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an SBOM is of: the image's name, its target, the kernel's facts and SHA-256, what lies in the root.

    `files` are (name, SHA-256) of the artifact's own files, the main one first; `epoch` is in seconds. `grub` is
    GRUB's version, and the SHA-256 of boot sector and core, where they lie before the first partition.
    """

    image: str
    target: str
    kernel: Mapping[str, Json]
    kernel_sha256: str
    contents: Contents
    files: Sequence[tuple[str, str]]
    epoch: int
    grub: tuple[str, str] | None = None


def to_bytes(facts: Facts) -> bytes:
    """Return the SBOM as JSON; ToolError without the extra `provenance`."""
    try:
        from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
        from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415
        from cyclonedx.output import make_outputter  # noqa: PLC0415
        from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing("an SBOM", error) from error
    parts = [_kernel(facts), *_loader(facts), *_files(facts), *_packages(facts)]
    whole = _artifact(facts)
    bom = Bom(components=parts)
    bom.metadata = BomMetaData(
        component=whole,
        timestamp=datetime.fromtimestamp(facts.epoch, UTC),
        tools=ToolRepository(
            components=[Component(type=ComponentType.APPLICATION, name="imagekit", version=__version__)]
        ),
    )
    bom.register_dependency(whole, parts)
    bom.serial_number = uuid5(_NAMESPACE, repr((facts, __version__)))
    made = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    return (json.dumps(json.loads(made), indent=1, sort_keys=True) + "\n").encode()


def purl(package: Package, release: Mapping[str, str]) -> str:
    """Return a package's URL (package-url/purl-spec, types deb and apk)."""
    from packageurl import PackageURL  # noqa: PLC0415 -- an extra, imported where it is used

    vendor = release.get("ID") or {"deb": "debian", "apk": "alpine"}[package.kind]
    distro = f"{vendor}-{release['VERSION_ID']}" if release.get("VERSION_ID") else None
    qualifiers = {"arch": package.architecture, **({"distro": distro} if distro else {})}
    return PackageURL(package.kind, vendor, package.name, package.version, qualifiers).to_string()


def _artifact(facts: Facts) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    name, digest = facts.files[0]
    return Component(
        type=ComponentType.CONTAINER,  # "isolates software … through virtualization technology"
        name=name,
        bom_ref=f"artifact:{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        properties=[
            Property(name="imagekit:image", value=facts.image),
            Property(name="imagekit:target", value=facts.target),
        ],
    )


def _kernel(facts: Facts) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    told = {name: facts.kernel.get(name) for name in _FACTS}
    return Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=str(told["guest_os"] or facts.image),
        version=str(told["guest_version"] or "") or None,
        bom_ref=f"kernel:{facts.kernel_sha256}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=facts.kernel_sha256)],
        properties=[
            Property(name=f"imagekit:kernel:{name}", value=str(value)) for name, value in told.items() if value
        ],
    )


def _loader(facts: Facts) -> "Iterator[Component]":
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    if facts.grub is not None:
        version, digest = facts.grub
        yield Component(
            type=ComponentType.APPLICATION,
            name="GRUB",
            version=version,
            bom_ref=f"loader:{digest}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )


def _files(facts: Facts) -> "Iterator[Component]":
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    for path, digest in sorted(facts.contents.files.items()):
        name = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        yield Component(
            type=ComponentType.FILE,
            name=name,
            bom_ref=f"file:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )


def _packages(facts: Facts) -> "Iterator[Component]":
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    for package in facts.contents.packages:
        name = purl(package, facts.contents.release)
        yield Component(
            type=ComponentType.LIBRARY,
            name=package.name,
            version=package.version,
            bom_ref=name,
            purl=PackageURL.from_string(name),
        )
