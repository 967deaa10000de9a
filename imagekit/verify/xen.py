"""The configurations beside an image for open-source Xen, read by Xen's own reader and by libvirt's schema."""

from collections.abc import Iterator
from pathlib import Path

from imagekit.command import run
from imagekit.errors import ToolError, VerificationError
from imagekit.kernel import Way
from imagekit.programs import find
from imagekit.verify import xlu
from imagekit.verify.check import Check, missing, passed, skipped
from imagekit.verify.claims import Claims
from imagekit.verify.domain import Told, compare, from_xl, from_xml
from imagekit.verify.subject import Subject

_NEEDED = (".cfg", ".xml")


def check_xen(subject: Subject) -> Iterator[Check]:
    """Check OUT.cfg, OUT.xm.cfg and OUT.xml: readable where they are read, and saying what the sidecar says."""
    claims = subject.claims
    if claims is not None:
        _check_companions(claims)
    for suffix in (".cfg", ".xm.cfg"):
        if _expected(subject, suffix):
            yield _check_cfg(subject.beside(suffix), claims)
    if _expected(subject, ".xml"):
        yield _check_xml(subject.beside(".xml"), claims)
    if claims is None and not any(_expected(subject, suffix) for suffix in _NEEDED):
        yield skipped("configuration", f"no {subject.beside('.cfg').name} beside the image")


def _expected(subject: Subject, suffix: str) -> bool:
    return subject.beside(suffix).exists() if subject.claims is None else suffix in subject.claims.companions


def _check_companions(claims: Claims) -> None:
    direct = claims.boot.way in {Way.PV_DIRECT, Way.PVH}
    for suffix in (*_NEEDED, *([".xen"] if direct else [])):
        if suffix not in claims.companions:
            raise VerificationError(f"the sidecar names no {suffix}, which an artifact for Xen comes with")
    if direct and claims.companions[".xen"] != claims.kernel.digest:
        raise VerificationError("the kernel beside the image is not the one on the disk")


def _check_cfg(path: Path, claims: Claims | None) -> Check:
    if not xlu.installed():
        return skipped(path.name, f"libxlutil is not installed: sudo apt-get install {xlu.PACKAGE}")
    return _agreed(path, from_xl(_text(path)), claims)


def _check_xml(path: Path, claims: Claims | None) -> Check:
    told = from_xml(_text(path))
    if find("virt-xml-validate") is None:
        return missing(path.name, "virt-xml-validate")
    try:
        run("virt-xml-validate", path, "domain", timeout=60)
    except ToolError as error:
        raise VerificationError(f"{path.name} is no domain by libvirt's schema", details=error.details) from None
    return _agreed(path, told, claims)


def _agreed(path: Path, told: Told, claims: Claims | None) -> Check:
    if claims is not None:
        compare(path, told, claims)
    return passed(path.name, f"{told['name']}, {told['memory in MiB']} MiB, {told['disk']}")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(xlu.SIZE_LIMIT + 1)
    if len(data) > xlu.SIZE_LIMIT:
        raise VerificationError(f"{path.name} is longer than {xlu.SIZE_LIMIT} bytes")
    return data.decode(errors="replace")
