"""Real boots of HVM guests, some 6 s each: GRUB from the disk's boot sector. The matrix is `make prove`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit import proof
from imagekit.artifact import Artifact
from imagekit.errors import UsageError
from imagekit.kernel import Way
from imagekit.proof import Proof
from imagekit.prove import Expected, Laboratory, subject
from tests.conftest import Make
from tests.prove.prepared import CACHE, prepared, strangers

pytestmark = pytest.mark.xdist_group("lab")

HELLO = "hello from imagekit: a Xen PVH kernel"
_MULTIBOOT = bytes.fromhex("02b0ad1b 03000100")  # recipes/kernels/hello-pvh.S: magic number and flags
_ENTRY = 32  # bytes from there to the entry
_WAIT = bytes.fromhex("fb f4 eb fd")  # sti; 1: hlt; jmp 1b

Change = Callable[[bytes], bytes]


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory(prepared(Way.HVM), tmp_path / "state")


def built(make: Make, kernels: Path, target: str = "xen") -> Artifact:
    settings = {"boot": "hvm", "memory": "32MiB", "cmdline": "greeting=hi"}
    return make(kernels / "hello-pvh.xen", target=target, settings=settings)[0]


def changed(artifact: Artifact, change: Change) -> Path:
    """Return a disk without a sidecar: the artifact's, changed."""
    path = artifact.path.with_name("changed.raw")
    before = artifact.path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    return path


def proven(laboratory: Laboratory, path: Path, way: Way | None = Way.HVM, *, timeout: float = 60) -> Proof:
    found = subject(path, target=None, way=way, memory=None)
    seen = laboratory.prove(found, Expected(HELLO, off=True), timeout=timeout)
    assert strangers() == set()
    return seen


def interrupted(disk: bytes) -> bytes:
    """Let the kernel do nothing but wait for interrupts, which it has no handlers for."""
    at = disk.index(_MULTIBOOT) + _ENTRY
    return disk[:at] + _WAIT + disk[at + len(_WAIT) :]


def unmasked(disk: bytes) -> bytes:
    return disk.replace(b"outb 0x", b"echo 0x")


def test_a_block_list_boots_by_its_own_way(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    artifact = built(make, kernels, "ebs")
    seen = proven(laboratory, artifact.path, None)
    assert (seen.booted, seen.way, seen.guest) == (True, "hvm", "hvm")
    assert seen.loader.startswith("the disk's boot sector, by SeaBIOS 1.")
    # GRUB's words come by the serial port, the kernel's by Xen's console: one transcript, in order.
    lines = [line for line in seen.console.splitlines() if line]
    assert lines[0].strip() == "Booting `hello-pvh'"
    assert lines[1] == "GRUB: loading /boot/hello-pvh.xen"
    assert lines[-5:-2] == [HELLO, "started by: multiboot", "command line: [greeting=hi]"]
    assert lines[-1] == "powering off"
    assert "SeaBIOS" in seen.said
    assert 300 << 20 < seen.memory < 800 << 20
    assert set(seen.seconds) == {"lab", "dom0", "xl", "firmware", "loader and guest"}
    assert proof.find(artifact.digest, "hvm", laboratory.state) == seen
    assert size(CACHE / "lab-hvm") < 400 << 20


def size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def test_no_boot_sector(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    seen = proven(laboratory, changed(built(make, kernels), lambda disk: bytes(512) + disk[512:]))
    assert (seen.booted, seen.verdict) == (False, "not started")
    assert seen.why.startswith("its BIOS found nothing to boot\nxl and the BIOS said:\n")
    assert "it has no boot sector that a BIOS would start" in seen.why


def test_a_timer_that_nobody_masks(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    """What grub.cfg masks is what the kernel would die of: the same disk without that waits no longer."""
    disk = changed(built(make, kernels), lambda disk: unmasked(interrupted(disk)))
    seen = proven(laboratory, disk)
    assert (seen.booted, seen.verdict) == (False, "crashed")
    assert "Triple fault" in seen.why
    assert "unless the 8259 is masked before it starts" in seen.why


@pytest.mark.long
def test_a_timer_that_grub_masks(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    seen = proven(laboratory, changed(built(make, kernels), interrupted), timeout=12)
    assert (seen.booted, seen.verdict) == (False, "time ran out")


@pytest.mark.long
@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda disk: disk.replace(b"multiboot '/boot/hello", b"multiboot '/boot/hallo"),
            "hallo-pvh.xen is not on partition 1",
        ),
        (lambda disk: disk.replace(_MULTIBOOT, bytes(8)), "finds no Multiboot header in it"),
    ],
)
def test_what_grub_complains_of(
    change: Change, words: str, make: Make, kernels: Path, laboratory: Laboratory
) -> None:
    """GRUB names the file, which is what is expected, and that does not count."""
    disk = changed(built(make, kernels), change)
    found = subject(disk, target=None, way=Way.HVM, memory=None)
    seen = laboratory.prove(found, Expected("hello-pvh"))
    assert (seen.booted, seen.verdict) == (False, "not started")
    assert seen.why.startswith("GRUB found nothing to start\n")
    assert words in seen.why


@pytest.mark.long
def test_a_guest_too_large_for_the_saved_machine(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    found = subject(built(make, kernels).path, target=None, way=None, memory=256 << 20)
    seen = laboratory.prove(found, Expected(HELLO, off=True))
    assert seen.booted
    assert seen.memory < 800 << 20


def test_a_kernel_alone_is_no_disk(kernels: Path, laboratory: Laboratory) -> None:
    with pytest.raises(UsageError, match="is a kernel"):
        proven(laboratory, kernels / "hello-pvh.xen")
