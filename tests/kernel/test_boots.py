"""Which kernel boots which way, and the words of the refusals."""

from dataclasses import replace

import pytest

from imagekit.kernel import KernelFacts, Kind, Refusal, Way, read_kernel_bytes, why_not
from tests.kernel.elf_builder import kernel, pv_notes, pvh_notes

PV = replace(read_kernel_bytes(kernel(pv_notes())), features=("!writable_page_tables",))
PVH = replace(read_kernel_bytes(kernel(pvh_notes())), multiboot=True)
BOTH = replace(PV, kind=Kind.BOTH)
PV_WAYS = [Way.PV_DIRECT, Way.PYGRUB_PV, Way.PV_GRUB]
PVH_WAYS = [Way.PVH, Way.PVH_PYGRUB]


def reason(facts: KernelFacts, way: Way) -> str:
    refusal = why_not(facts, way)
    assert refusal is not None
    assert refusal.way is way
    return refusal.reason


@pytest.mark.parametrize(
    "facts, ways",
    [
        (PV, {*PV_WAYS}),
        (PVH, {*PVH_WAYS, Way.MULTIBOOT, Way.HVM}),
        (replace(PVH, multiboot=False, multiboot2=True), {*PVH_WAYS, Way.MULTIBOOT, Way.HVM}),
        (replace(PVH, kind=Kind.NONE), {Way.MULTIBOOT, Way.HVM}),
        (replace(BOTH, kind=Kind.NONE, container="bzimage", payload="lz4"), {Way.HVM}),
        (BOTH, {*PV_WAYS, *PVH_WAYS}),
        (replace(BOTH, kind=Kind.NONE), set()),
        (replace(BOTH, machine="aarch64"), set()),
        (replace(PVH, machine="i386"), {*PVH_WAYS, Way.MULTIBOOT, Way.HVM}),
    ],
)
def test_ways(facts: KernelFacts, ways: set[Way]) -> None:
    assert {way for way in Way if why_not(facts, way) is None} == ways


def test_a_refusal_names_what_is_missing() -> None:
    assert why_not(PVH, Way.PV_GRUB) == Refusal(
        "it has no entry for PV, only for PVH",
        "ENTRY or VIRT_BASE (notes 1 and 3), or a section __xen_guest",
        Way.PV_GRUB,
    )
    assert why_not(PV, Way.PVH) == Refusal(
        "it has no entry for PVH, only for PV", "PHYS32_ENTRY (note 18)", Way.PVH
    )
    assert why_not(replace(PV, kind=Kind.NONE), Way.PVH_PYGRUB) == Refusal(
        "it has no entry for PVH", "PHYS32_ENTRY (note 18)", Way.PVH_PYGRUB
    )
    assert why_not(PV, Way.MULTIBOOT) == Refusal(
        "GRUB finds no Multiboot header in it", "a Multiboot header in the first 8 KiB", Way.MULTIBOOT
    )
    assert why_not(PV, Way.HVM) == Refusal(
        "GRUB finds no Multiboot header in it, and it is no Linux bzImage",
        "a Multiboot header in the first 8 KiB, or the form of a Linux bzImage",
        Way.HVM,
    )


@pytest.mark.parametrize("way", PV_WAYS)
def test_pv_by_xens_own_rules(way: Way) -> None:
    assert "another loader" in reason(replace(PV, loader="", guest_os="Mirage"), way)
    assert why_not(replace(PV, loader="", guest_os="linux"), way) is None
    assert "another Xen" in reason(replace(PV, xen_version="xen-2.0"), way)
    assert why_not(replace(PV, xen_version="xen-3.0-x86_64"), way) is None


@pytest.mark.parametrize("way", [Way.PV_DIRECT, Way.PVH])
def test_features_that_cannot_be_had(way: Way) -> None:
    assert "dom0" in reason(replace(BOTH, features=("!dom0",)), way)
    assert "flying" in reason(replace(BOTH, features=("!flying", "swimming")), way)
    assert why_not(replace(BOTH, features=("dom0", "swimming")), way) is None


def test_32_bit_pv_boots_by_pv_grub_only() -> None:
    old = replace(PV, machine="i386", bits=32)
    assert why_not(old, Way.PV_GRUB) is None
    assert "32-bit" in reason(old, Way.PV_DIRECT)
    assert "32-bit" in reason(old, Way.PYGRUB_PV)


@pytest.mark.parametrize(
    "pae, notes_from, boots",
    [
        ("yes", "notes", True),
        ("yes,bimodal", "notes", True),
        ("yes[extended-cr3]", "notes", False),
        ("yes[extended-cr3]", "__xen_guest", True),
        ("no", "__xen_guest", False),
        ("", "notes", False),
    ],
)
def test_32_bit_pv_needs_pae(pae: str, notes_from: str, boots: bool) -> None:
    old = replace(PV, machine="i386", bits=32, pae=pae)
    old = replace(old, notes_from="notes" if notes_from == "notes" else "__xen_guest")
    assert (why_not(old, Way.PV_GRUB) is None) is boots


@pytest.mark.parametrize("way", [Way.PV_DIRECT, Way.PV_GRUB, Way.PVH])
def test_a_file_is_unpacked_once_and_by_gzip(way: Way) -> None:
    assert why_not(replace(BOTH, compression=("gzip",)), way) is None
    assert "packed by xz" in reason(replace(BOTH, compression=("xz",)), way)
    assert "packed 2 times" in reason(replace(BOTH, compression=("gzip", "gzip")), way)


@pytest.mark.parametrize(
    "payload, by_builder, by_pv_grub",
    [
        ("gzip", True, True),
        ("xz", True, True),
        ("lzma", True, False),
        ("zstd", True, False),
        ("bzip2", False, True),
        ("lzo", False, True),
    ],
)
def test_payloads(payload: str, by_builder: bool, by_pv_grub: bool) -> None:
    linux = replace(BOTH, container="bzimage", payload=payload)
    assert (why_not(linux, Way.PV_GRUB) is None) is by_pv_grub
    for way in (Way.PV_DIRECT, Way.PYGRUB_PV, Way.PVH, Way.PVH_PYGRUB):
        assert (why_not(linux, way) is None) is by_builder


@pytest.mark.parametrize("payload", ["gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd"])
def test_a_bzimage_unpacks_itself_in_an_hvm_guest(payload: str) -> None:
    linux = replace(BOTH, container="bzimage", payload=payload)
    assert why_not(linux, Way.HVM) is None
    assert why_not(replace(linux, compression=("gzip",)), Way.HVM) is None
    assert "packed by xz, which GRUB does not" in reason(replace(linux, compression=("xz",)), Way.HVM)


def test_multiboot_takes_no_bzimage() -> None:
    assert "a bzImage, which GRUB" in reason(replace(PVH, container="bzimage", payload="gzip"), Way.MULTIBOOT)
