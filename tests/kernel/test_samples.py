"""Kernels that others wrote: this project's samples, and real ones of the system."""

from pathlib import Path

import pytest

from imagekit.errors import KernelError
from imagekit.kernel import KernelFacts, Kind, Way, read_kernel, why_not

GRUB = Path("/usr/lib/grub-xen")
PV_WAYS = {Way.PV_DIRECT, Way.PYGRUB_PV, Way.PV_GRUB}
PVH_WAYS = {Way.PVH, Way.PVH_PYGRUB}


def ways(facts: KernelFacts) -> set[Way]:
    return {way for way in Way if why_not(facts, way) is None}


def installed(path: Path, package: str) -> KernelFacts:
    if not path.is_file():
        pytest.skip(f"{path} is not there (package {package})")
    return read_kernel(path)


@pytest.mark.parametrize("name", ["hello.xen", "hello.xen.gz", "hello-legacy.xen"])
def test_pv_samples(samples: Path, name: str) -> None:
    facts = read_kernel(samples / name)
    assert (facts.kind, facts.architecture, facts.xen_version) == (Kind.PV, "x86_64", "xen-3.0")
    assert facts.notes_from == ("__xen_guest" if "legacy" in name else "notes")
    assert facts.compression == (("gzip",) if name.endswith("gz") else ())
    assert ways(facts) == PV_WAYS


def test_pvh_sample(samples: Path) -> None:
    facts = read_kernel(samples / "hello-pvh.xen")
    assert (facts.kind, facts.multiboot) == (Kind.PVH, True)
    assert ways(facts) == {*PVH_WAYS, Way.MULTIBOOT, Way.HVM}


def test_broken_samples(samples: Path) -> None:
    assert ways(read_kernel(samples / "broken" / "no-notes.xen")) == set()
    assert ways(read_kernel(samples / "broken" / "wrong-machine.xen")) == set()
    assert ways(read_kernel(samples / "broken" / "pvh-only.xen")) == PVH_WAYS
    with pytest.raises(KernelError, match="cut short"):
        read_kernel(samples / "broken" / "truncated.xen")


def test_grub_for_pv() -> None:
    facts = installed(GRUB / "grub-x86_64-xen.bin", "grub-xen-host")
    assert (facts.kind, facts.guest_os, facts.virt_base) == (Kind.PV, "GRUB", 0)
    assert ways(facts) == PV_WAYS


def test_grub_for_32_bit_pv() -> None:
    facts = installed(GRUB / "grub-i386-xen.bin", "grub-xen-host")
    assert (facts.kind, facts.architecture, facts.bits) == (Kind.PV, "i386", 32)
    assert ways(facts) == {Way.PV_GRUB}


def test_grub_for_pvh() -> None:
    facts = installed(GRUB / "grub-i386-xen_pvh.bin", "grub-xen-host")
    assert (facts.kind, facts.phys32_entry) == (Kind.PVH, 0x100000)
    assert ways(facts) == PVH_WAYS


def test_debians_linux() -> None:
    kernels = sorted(Path("/boot").glob("vmlinuz-*-amd64"))
    if not kernels:
        pytest.skip("no /boot/vmlinuz-*-amd64 is there (package linux-image-amd64)")
    facts = read_kernel(kernels[-1])
    assert (facts.kind, facts.container, facts.guest_os) == (Kind.BOTH, "bzimage", "linux")
    assert facts.unpacked_size > facts.size
    assert ways(facts) >= {*PVH_WAYS, Way.PV_DIRECT}


def test_a_program_of_the_system_is_no_kernel() -> None:
    assert installed(Path("/bin/true"), "coreutils").kind is Kind.NONE
