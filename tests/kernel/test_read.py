"""Kernels that are as they should be, and every reason why a file is none."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from imagekit.errors import ExitCode, KernelError, TryAgainError
from imagekit.kernel import KernelFacts, Kind, read, read_kernel, read_kernel_bytes
from tests.kernel.elf_builder import (
    EM_386,
    EM_AARCH64,
    PACKERS,
    PT_NOTE,
    SHT_NOTE,
    Builder,
    Section,
    Segment,
    bzimage,
    kernel,
    note,
    pv_notes,
    pvh_notes,
    sized,
)

PV = kernel(pv_notes())
LEGACY = (
    "GUEST_OS=Mirage,XEN_VER=xen-3.0,VIRT_BASE=0x400000,ELF_PADDR_OFFSET=0x0,HYPERCALL_PAGE=0x2,LOADER=generic"
)


def legacy(text: str) -> KernelFacts:
    return read_kernel_bytes(Builder(sections=(Section("__xen_guest", text.encode() + b"\0"),), entry=7).build())


def with_notes(notes: bytes) -> KernelFacts:
    return read_kernel_bytes(kernel(notes))


def refused(data: bytes) -> KernelError:
    with pytest.raises(KernelError) as caught:
        read_kernel_bytes(data)
    assert caught.value.exit_code is ExitCode.CANNOT_BOOT
    return caught.value


def test_pv_by_notes() -> None:
    assert read_kernel_bytes(PV) == KernelFacts(
        kind=Kind.PV,
        bits=64,
        machine="x86_64",
        container="elf",
        compression=(),
        payload=None,
        entry=0x400040,
        phys32_entry=None,
        virt_base=0x400000,
        paddr_offset=0x1000,
        hypercall_page=0x401000,
        guest_os="Mini-OS",
        guest_version="1",
        xen_version="xen-3.0",
        loader="generic",
        pae="yes",
        features=("!writable_page_tables", "dom0"),
        notes_from="notes",
        multiboot=False,
        multiboot2=False,
        memory=0x1000,
        size=len(PV),
        unpacked_size=len(PV),
    )


def test_pvh_has_no_pv_entry() -> None:
    facts = with_notes(pvh_notes())
    assert (facts.kind, facts.phys32_entry, facts.entry, facts.virt_base) == (Kind.PVH, 0x100020, None, None)


def test_both_kinds() -> None:
    assert with_notes(pv_notes() + pvh_notes()).kind is Kind.BOTH


def test_notes_of_others_are_passed_over() -> None:
    other = note(1, b"\1" * 20, owner=b"GNU\0") + note(18, 1, owner=b"Linux\0") + note(4096, 1) + pvh_notes()
    assert with_notes(other).kind is Kind.PVH


@pytest.mark.parametrize("notes", [b"", note(6, "linux") + note(5, "xen-3.0") + note(2, 0x1000)])
def test_no_door_at_all(notes: bytes) -> None:
    """Linux without CONFIG_XEN_PV has the second kind of notes."""
    facts = read_kernel_bytes(kernel(notes))
    assert (facts.kind, facts.entry) == (Kind.NONE, None)


def test_the_elf_entry_stands_in_for_the_note() -> None:
    assert read_kernel_bytes(kernel(note(3, 0), entry=0x1234)).entry == 0x1234


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_numbers_of_any_size(size: int) -> None:
    assert with_notes(note(3, 0xFF, size=size)).virt_base == 0xFF


def test_a_number_of_another_size_is_0_as_it_is_to_xen() -> None:
    assert with_notes(note(3, b"\xff" * 3)).virt_base == 0


def test_the_last_of_two_equal_notes_counts() -> None:
    assert with_notes(note(3, 1) + note(3, 2)).virt_base == 2


def test_a_text_may_reach_beyond_its_segment() -> None:
    """As the last note of Debian's grub-i386-xen.bin does."""
    notes = note(3, 0) + note(9, "yes,bimodal")
    segments = (Segment(content=b"\x90" * 64), Segment(PT_NOTE, notes, size=len(notes) - 8))
    assert read_kernel_bytes(Builder(segments).build()).pae == "yes,bimodal"


def test_texts_are_made_printable() -> None:
    assert with_notes(note(6, b"\x1b[2J\xff\0beyond") + note(3, 0)).guest_os == "\\x1b[2J\\xff"


def test_supported_features_by_bits() -> None:
    facts = with_notes(note(17, 1 | 1 << 11 | 1 << 31, size=4) + note(10, "!dom0||x"))
    assert facts.features == ("!dom0", "x", "writable_page_tables")


def test_notes_of_sections_where_no_segment_has_them() -> None:
    build = Builder(sections=(Section(".note.Xen", pvh_notes(), SHT_NOTE), Section(".text", b"")))
    assert read_kernel_bytes(build.build()).kind is Kind.PVH


def test_notes_of_segments_come_first() -> None:
    sections = (Section(".note.Xen", pvh_notes(), SHT_NOTE), Section("__xen_guest", LEGACY.encode()))
    facts = read_kernel_bytes(kernel(note(3, 5), sections=sections))
    assert (facts.kind, facts.virt_base, facts.guest_os) == (Kind.PV, 5, "")


def test_a_note_segment_at_0_is_passed_over() -> None:
    segments = (Segment(content=bytes(64)), Segment(PT_NOTE, pvh_notes(), offset=0))
    assert read_kernel_bytes(Builder(segments).build()).kind is Kind.NONE


@pytest.mark.parametrize("bits, order", [(32, "<"), (32, ">"), (64, ">")])
def test_other_classes_and_orders(bits: int, order: str) -> None:
    facts = read_kernel_bytes(kernel(pv_notes(order, 4), bits=bits, order=order, machine=EM_386))
    assert (facts.kind, facts.bits, facts.machine, facts.virt_base) == (Kind.PV, bits, "i386", 0x400000)


@pytest.mark.parametrize("machine, name", [(EM_AARCH64, "aarch64"), (0xFEED, "machine 65261"), (0, "none")])
def test_other_machines(machine: int, name: str) -> None:
    facts = read_kernel_bytes(kernel(pv_notes(), machine=machine))
    assert facts.machine == name
    with pytest.raises(KernelError, match=f"a kernel for {name}"):
        _ = facts.architecture


def test_architecture() -> None:
    assert read_kernel_bytes(PV).architecture == "x86_64"
    assert read_kernel_bytes(kernel(b"", machine=EM_386)).architecture == "i386"


def test_legacy_section() -> None:
    facts = legacy(LEGACY)
    assert (facts.kind, facts.notes_from, facts.entry) == (Kind.PV, "__xen_guest", 7)
    assert (facts.virt_base, facts.paddr_offset, facts.hypercall_page) == (0x400000, 0, 0x402000)
    assert (facts.guest_os, facts.xen_version, facts.loader) == ("Mirage", "xen-3.0", "generic")


@pytest.mark.parametrize(
    "text, number",
    [("0x1F", 31), ("010", 8), ("10k", 10), ("0", 0), ("", 0), ("-1", 0), ("0x" + "f" * 20, 2**64 - 1)],
)
def test_legacy_numbers_are_read_as_c_does(text: str, number: int) -> None:
    assert legacy(f"VIRT_ENTRY={text},UNKNOWN,GUEST_VER=2,PAE=yes").entry == number


def test_legacy_page_without_a_base() -> None:
    assert legacy("HYPERCALL_PAGE=0x2").hypercall_page == 0x2000


@pytest.mark.parametrize("index", [0, 9])
def test_without_a_table_of_names_no_section_is_found(index: int) -> None:
    build = Builder(sections=(Section("__xen_guest", LEGACY.encode()),), header={12: index})
    assert read_kernel_bytes(build.build()).kind is Kind.NONE


def test_memory_spans_what_is_loaded() -> None:
    segments = (
        Segment(content=b"x", physical=0x3000, memory=0x500),
        Segment(content=b"x", physical=0x1000),
        Segment(content=b"x", physical=0, flags=0),
        Segment(5, b"x", physical=0x9000),
    )
    assert read_kernel_bytes(Builder(segments).build()).memory == 0x2500
    assert read_kernel_bytes(Builder((Segment(5, b"x"),)).build()).memory == 0


@pytest.mark.parametrize("packing", PACKERS)
def test_a_bzimage(packing: str) -> None:
    payload = PACKERS[packing](PV)
    image = bzimage(payload if packing == "gzip" else sized(payload, len(PV)))
    facts = read_kernel_bytes(image)
    expected = replace(read_kernel_bytes(PV), container="bzimage", payload=packing, size=len(image))
    assert facts == expected


def test_a_packed_bzimage() -> None:
    facts = read_kernel_bytes(PACKERS["xz"](bzimage(PACKERS["gzip"](PV))))
    assert (facts.compression, facts.container, facts.payload) == (("xz",), "bzimage", "gzip")
    assert facts.unpacked_size == len(PV)


@pytest.mark.parametrize(
    "image, brief",
    [
        (bzimage(b"")[:0x240], "cut short"),
        (bzimage(PACKERS["gzip"](PV), version=0x0207), "boot protocol 2.07"),
        (bzimage(PACKERS["gzip"](PV), length=9999), "cut short"),
        (bzimage(b"abc"), "cut short"),
        (bzimage(b"\1\2\3\4\5"), "a way that Xen does not know"),
        (bzimage(sized(b"\x04\x22\x4d\x18", 9)), "lz4"),
        (bzimage(sized(PACKERS["zstd"](PV), 9)), "payload is damaged"),
        (bzimage(PACKERS["gzip"](b"plain text")), "no kernel"),
    ],
)
def test_broken_bzimages(image: bytes, brief: str) -> None:
    assert brief in refused(image).brief


@pytest.mark.parametrize(
    "data, brief",
    [
        (b"", "no kernel"),
        (b"#!/bin/sh\n", "no kernel"),
        (b"\x7fELF", "damaged header"),
        (PV[:40], "cut short"),
        (PV[:100], "cut short"),
        (PV[:-1], "cut short"),
        (PV[:4] + b"\3" + PV[5:], "damaged header"),
        (PV[:5] + b"\0" + PV[6:], "damaged header"),
        (kernel(b"", header={9: 0}), "0 segments"),
        (kernel(b"", header={9: 129}), "129 segments"),
        (kernel(b"", header={8: 57}), "segment headers of 57 bytes"),
        (kernel(b"", header={4: 1 << 63}), "cut short"),
        (kernel(b"", header={5: 1 << 63}), "cut short"),
        (kernel(b"", header={11: 4}), "cut short"),
        (kernel(b"", header={10: 1, 11: 1}), "section headers of 1 bytes"),
        (Builder((Segment(content=b"xx", memory=1),)).build(), "impossible segment"),
        (Builder((Segment(physical=1 << 63, memory=1 + (1 << 63)),)).build(), "impossible segment"),
    ],
)
def test_no_kernels(data: bytes, brief: str) -> None:
    assert brief in refused(data).brief


def test_a_segment_at_the_end_of_the_address_space() -> None:
    build = Builder((Segment(physical=1 << 63, memory=1 << 63),))
    assert read_kernel_bytes(build.build()).memory == 1 << 63


def test_too_many_notes() -> None:
    start = len(Builder((Segment(),) * 128).build())
    segments = (Segment(PT_NOTE, offset=start, size=64 * 1024),) * 128
    assert "more than 65536 notes" in refused(Builder(segments).build() + bytes(64 * 1024)).brief


def test_json_round_trip() -> None:
    for facts in (read_kernel_bytes(PV), with_notes(pvh_notes()), legacy(LEGACY)):
        content = json.loads(json.dumps(facts.to_json()))
        assert list(content) == [field.name for field in fields(KernelFacts)]
        assert KernelFacts.from_json(content) == facts


def test_json_is_plain() -> None:
    content = read_kernel_bytes(PV).to_json()
    assert (content["kind"], content["entry"], content["phys32_entry"]) == ("pv", "0x400040", None)
    assert content["features"] == ["!writable_page_tables", "dom0"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "hvm"},
        {"bits": 16},
        {"bits": "64"},
        {"entry": 5},
        {"entry": "5"},
        {"entry": "0x05"},
        {"entry": "zero"},
        {"features": [1]},
        {"multiboot": 1},
        {"more": 1},
        {"size": None},
    ],
)
def test_json_is_strict(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        KernelFacts.from_json({**read_kernel_bytes(PV).to_json(), **change})


def test_json_wants_every_key() -> None:
    content = read_kernel_bytes(PV).to_json()
    del content["pae"]
    with pytest.raises(ValueError, match="pae"):
        KernelFacts.from_json(content)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "app.xen"
    path.write_bytes(PV)
    assert read_kernel(path) == read_kernel_bytes(PV)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(read.LARGEST + 1)
    briefs = {
        ".": "no file",
        "fifo": "no file",
        "absent": "cannot be read",
        "empty": "no kernel",
        "large": "too large",
    }
    for name, brief in briefs.items():
        with pytest.raises(KernelError, match=brief) as caught:
            read_kernel(tmp_path / name)
        assert caught.value.brief.startswith(f"{tmp_path / name}: ")


def test_no_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(TryAgainError, match="no room"):
        read_kernel_bytes(PACKERS["gzip"](PV))
