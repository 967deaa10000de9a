"""Real boots: Xen, dom0 and a guest, some 3 s each. The matrix of all ways is `make prove`."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit import proof
from imagekit.artifact import Artifact, Sidecar
from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats.vm_kernel import EMPTY
from imagekit.kernel import Way
from imagekit.proof import Proof
from imagekit.prove import Expected, Laboratory, subject
from imagekit.unwrap import unwrapped
from tests.conftest import Make
from tests.kernel.multiboot2 import by_multiboot2
from tests.prove.prepared import LAB, prepared, strangers

pytestmark = pytest.mark.xdist_group("lab")

HELLO = "hello from imagekit: a Xen PV kernel"


@pytest.fixture
def said() -> list[str]:
    """Return what the laboratory told while it worked."""
    return []


@pytest.fixture
def laboratory(tmp_path: Path, said: list[str]) -> Laboratory:
    return Laboratory(prepared(), tmp_path / "state", note=said.append)


Prove = Callable[..., Proof]


@pytest.fixture
def prove(laboratory: Laboratory) -> Prove:
    """Return a function that boots: prove(path, way=…, text=…, off=…, timeout=…)."""

    def prove_it(path: Path, way: Way | None = None, *, timeout: float = 60, **expected: object) -> Proof:
        found = subject(path, target=None, way=way, memory=None)
        seen = laboratory.prove(found, Expected(**expected), timeout=timeout)  # type: ignore[arg-type]
        assert strangers() == set()
        return seen

    return prove_it


def built(make: Make, kernel: Path, target: str, **settings: object) -> Artifact:
    return make(kernel, target=target, settings={"memory": "32MiB", "cmdline": "greeting=hi", **settings})[0]


def test_pygrub(make: Make, kernels: Path, prove: Prove, laboratory: Laboratory) -> None:
    artifact = built(make, kernels / "hello.xen", "xen")
    seen = prove(artifact.path, text=HELLO, off=True)
    assert (seen.booted, seen.verdict, seen.way) == (True, "booted", "pygrub")
    assert seen.why == f"it said {HELLO!r}, powered off"
    # The console is the guest's own: no word of dom0, xl or pygrub.
    assert seen.console.splitlines() == [
        HELLO,
        "started by: xen-3.0-x86_64",
        "command line: [greeting=hi]",
        "memory: 8192 pages, 32 MiB",
        "powering off",
    ]
    assert "reason code 0" in seen.said
    assert (seen.disk, seen.warnings) == (artifact.digest, ())
    assert 200 << 20 < seen.memory < 650 << 20
    assert set(seen.seconds) == {"lab", "dom0", "xl", "loader", "guest"}
    assert proof.find(artifact.digest, "pygrub", laboratory.state) == seen


def test_pv_grub_on_a_block_list(make: Make, kernels: Path, prove: Prove) -> None:
    seen = prove(built(make, kernels / "hello.xen", "ebs").path, text=HELLO, off=True)
    assert (seen.booted, seen.way, seen.warnings) == (True, "pv-grub", ())
    assert "Booting `hello'" in seen.console
    assert "command line: [greeting=hi]" in seen.console
    assert seen.loader.startswith("GRUB for PV, with menu.lst 2.")


def test_pvh_from_a_kernel_file(kernels: Path, prove: Prove) -> None:
    seen = prove(kernels / "hello-pvh.xen", Way.PVH, text="hello from imagekit")
    assert (seen.booted, seen.way) == (True, "pvh")


@pytest.mark.parametrize("name,way", [("hello-pvh.xen", Way.PVH), ("hello.xen", Way.PV_DIRECT)])
def test_a_kernel_for_qubes_with_its_initramfs(
    make: Make, kernels: Path, laboratory: Laboratory, name: str, way: Way
) -> None:
    artifact = built(make, kernels / name, "qubes")
    with unwrapped(artifact.path, None) as kernel:
        found = subject(artifact.path, target=None, way=None, memory=None, raw=kernel)
        assert (found.way, found.disk, found.ramdisk) == (way, False, EMPTY)
        seen = laboratory.prove(found, Expected(text="command line: [greeting=hi]", off=True))
    assert (seen.booted, seen.target, seen.way) == (True, "qubes", way.value)
    assert proof.find(Sidecar.read(artifact.path).digest, way.value, laboratory.state) == seen  # type: ignore[union-attr]
    assert strangers() == set()


@pytest.mark.parametrize("layout", ["auto", "gpt"])
def test_a_root_volume_for_qubes_by_grub(make: Make, kernels: Path, prove: Prove, layout: str) -> None:
    settings = {"qubes.format": "template", "disk.layout": layout}
    seen = prove(built(make, kernels / "hello-pvh.xen", "qubes", **settings).path, text="hello from", off=True)
    assert (seen.booted, seen.target, seen.way) == (True, "qubes", "multiboot")
    assert seen.loader.startswith("GRUB for PVH 2.")
    assert "/boot/grub/grub.cfg" in seen.console
    assert "command line: [greeting=hi]" in seen.console


def test_multiboot_2_alone_by_grub(make: Make, kernels: Path, prove: Prove, tmp_path: Path) -> None:
    """That GRUB is the one of which Qubes has a later version, with all modules in it as well."""
    kernel = by_multiboot2(kernels, tmp_path)
    seen = prove(built(make, kernel, "qubes", **{"qubes.format": "template"}).path, text="hello from", off=True)
    assert (seen.booted, seen.way) == (True, "multiboot")
    assert "started by: multiboot" in seen.console


def test_the_wrong_kind_of_guest_is_refused_and_explained(
    make: Make, kernels: Path, prove: Prove, laboratory: Laboratory
) -> None:
    artifact = built(make, kernels / "hello-pvh.xen", "xen")
    seen = prove(artifact.path, Way.PYGRUB_PV, text="hello from")
    assert (seen.booted, seen.verdict) == (False, "not started")
    assert seen.why.startswith("xl could not start it\nxl and the boot loader said:\n")
    assert "no loader found" in seen.why
    assert "/boot/hello-pvh.xen: it has no entry for PV" in seen.why
    assert proof.find(artifact.digest, "pygrub", laboratory.state) is None
    assert len(list((laboratory.state / "proofs").iterdir())) == 1, "a failure is kept, too"


def test_a_text_that_nobody_says(make: Make, kernels: Path, prove: Prove) -> None:
    seen = prove(built(make, kernels / "hello.xen", "xen").path, text="never said")
    assert (seen.booted, seen.verdict) == (False, "ended without the text")
    assert seen.why.startswith("it powered off without saying 'never said'\nthe console's last lines:\n")
    assert seen.why.endswith("  powering off")


def test_the_loaders_complaint_is_not_the_guests_word(make: Make, kernels: Path, prove: Prove) -> None:
    """The kernel is gone: GRUB says its name, which is what is expected."""
    image = built(make, kernels / "hello.xen", "ebs").path
    alone = image.with_name("alone.raw")
    run("cp", "--sparse=always", image, alone)
    run("debugfs", "-w", "-R", "rm /boot/hello.xen", alone)
    seen = prove(alone, Way.PV_GRUB, text="hello", timeout=6)
    assert "couldn't load file /boot/hello.xen" in seen.console
    assert (seen.booted, seen.verdict) == (False, "time ran out")
    assert "/boot/hello.xen is not on the whole disk" in seen.why


def test_xl_reads_what_the_xen_target_writes(make: Make, kernels: Path, laboratory: Laboratory) -> None:
    vif = [{"bridge": "xenbr0", "mac": "00:16:3e:12:34:56", "ip": "10.0.0.2", "script": "vif-bridge"}]
    artifact = built(make, kernels / "hello.xen", "xen", vif=vif)
    cfg = artifact.path.with_name(artifact.path.name + ".cfg").read_bytes()
    assert "Parsing config" in laboratory.check(cfg)


@pytest.mark.parametrize(
    "cfg, words",
    [
        (b'name = "x"\nmemory = = 5\n', "syntax error"),
        (b'name = "x"\nmemory = 16\ntype = "pv"\ndisk = ["nonsense"]\nkernel = "/k"\n', "nonsense"),
    ],
)
def test_xl_refuses_nonsense(cfg: bytes, words: str, laboratory: Laboratory) -> None:
    with pytest.raises(VerificationError, match="xl does not take the configuration") as caught:
        laboratory.check(cfg)
    assert words in caught.value.details


def test_a_damaged_machine_is_noticed_and_made_again(
    make: Make, kernels: Path, prove: Prove, said: list[str]
) -> None:
    image = built(make, kernels / "hello.xen", "xen").path
    assert prove(image, text=HELLO).booted
    (saved,) = (path for path in LAB.glob("machine-*") if path.suffix != ".json")
    record = json.loads(saved.with_suffix(".json").read_bytes())
    with saved.open("r+b") as file:
        file.seek(record["size"] // 2)
        old = file.read(4096)
        file.seek(record["size"] // 2)
        file.write(bytes(byte ^ 0xFF for byte in old))
    said.clear()
    assert prove(image, text=HELLO).booted
    # Whoever came first has made it again: this proof, or one of another process that it waited for.
    assert any(line.startswith(("the saved machine is of no use", "another proof is under way")) for line in said)
    (saved,) = (path for path in LAB.glob("machine-*") if path.suffix != ".json")
    record = json.loads(saved.with_suffix(".json").read_bytes())
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == record["sha256"]
    said.clear()
    assert prove(image, text=HELLO).booted
    assert not any(line.startswith("the saved machine is of no use") for line in said)
