"""GRUB itself, started by a BIOS from our disks: what it hands a kernel is what the recipe says.

The machine is QEMU's, with SeaBIOS; the kernel of told.S writes to the serial port what GRUB told it.
"""

import gzip
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagekit.boot import BootEntry, boot_files
from imagekit.boot.grub import arguments, grub_cfg, quoted
from imagekit.command import run
from imagekit.errors import RecipeError, UnsuitedError
from imagekit.programs import require
from tests.conftest import Make

GRUB_CFG = "/boot/grub/grub.cfg"
SOURCE = Path(__file__).with_name("told.S")

# Blanks, quotes, and all that GRUB's script language takes for more than itself.
TEXTS = st.one_of(
    st.text(st.sampled_from(" \"'\\$;={}#a-/\u00e9\U0001f40d(),`|&<>*?[]!~x4"), max_size=30),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
).map(str.strip)


@pytest.fixture(scope="session")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of kernels that tell what GRUB told them: told.xen, and told2.xen by Multiboot 2."""
    folder = tmp_path_factory.mktemp("telling")
    for name, variant in (("told", ()), ("told2", ("-DSECOND",))):
        run("gcc", "-m32", "-c", *variant, "-o", folder / "told.o", SOURCE)
        arguments = ("-m", "elf_i386", "-static", "-nostdlib", "-Ttext=0x100000", "-z", "noexecstack")
        run("ld", *arguments, "-o", folder / f"{name}.xen", folder / "told.o")
    return folder


# What a machine writes to stdout: its serial port, or, of one that has none, what QEMU alone listens to.
PORTS = {"a serial port": ("-serial", "stdio"), "none": ("-serial", "none", "-debugcon", "stdio")}


def machine(disk: Path, memory: str, port: str = "a serial port") -> "subprocess.Popen[bytes]":
    """Start a machine that boots a disk by its BIOS, its port on stdout; it may write to a copy only."""
    options = ("-m", memory, "-accel", "tcg", "-display", "none", "-no-reboot", "-net", "none", *PORTS[port])
    devices = ("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-snapshot", "-drive", f"file={disk},format=raw")
    return subprocess.Popen(
        [require("qemu-system-x86_64"), *options, *devices],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def told(disk: Path, *, lines: int, port: str = "a serial port") -> list[str]:
    """Boot a disk by its BIOS; return what the kernel tells: its command line, its modules', the 8259's state."""
    with machine(disk, "64", port) as child:
        output, complaint = child.communicate(timeout=120)
    head, _, said = output.decode().partition("\nTOLD\n")
    assert said, head[-2000:] + complaint.decode()
    found = said.removesuffix("\n").split("\n")
    assert len(found) == lines
    return found


def replaced(disk: Path, text: str) -> None:
    """Put another grub.cfg on a disk."""
    file = disk.with_name("grub.cfg")
    file.write_text(text)
    for command in (f"rm {GRUB_CFG}", f"write {file} {GRUB_CFG}"):
        run("debugfs", "-w", "-R", command, f"{disk}?offset={1 << 20}")


def sayable(texts: Sequence[str]) -> list[str]:
    """Return those of some texts that GRUB can hand on as they are."""
    found: list[str] = []
    for text in texts:
        with suppress(UnsuitedError):
            arguments(text)
            found.append(text)
    return found


SETTINGS: list[dict[str, object]] = [
    {},
    {"filesystem.type": "ext4"},
    {"filesystem.type": "ext3", "filesystem.block_size": 4096, "disk.size": "64MiB", "disk.layout": "mbr"},
    {"filesystem.type": "fat16"},
    {"filesystem.type": "fat32"},
    {"filesystem.type": "ext4", "disk.boot": "4MiB", "root.kernel": "/boot/own+kernel~1"},
]


@pytest.mark.parametrize("more", SETTINGS, ids=str)
def test_grub_finds_the_kernel(make: Make, telling: Path, more: dict[str, object]) -> None:
    (artifact,) = make(telling / "told.xen", settings={"boot": "hvm", "cmdline": "a=$b;  {c}", **more})
    assert told(artifact.path, lines=2) == ["a=$b;  {c}", "masked"]


@pytest.mark.parametrize("port", PORTS)
def test_a_machine_with_a_serial_port_or_none(make: Make, telling: Path, port: str) -> None:
    """Without one, `serial` is an error, and the menu's entry boots all the same."""
    (artifact,) = make(telling / "told.xen", settings={"boot": "hvm", "cmdline": "a=1"})
    assert told(artifact.path, lines=2, port=port) == ["a=1", "masked"]


def test_a_disk_without_a_menu_says_so_on_the_serial_port(make: Make, telling: Path) -> None:
    """What a cloud's console log shows then is GRUB's prompt, not nothing."""
    (artifact,) = make(telling / "told.xen", settings={"boot": "hvm"})
    run("debugfs", "-w", "-R", f"rm {GRUB_CFG}", f"{artifact.path}?offset={1 << 20}")
    with machine(artifact.path, "64") as child:
        assert child.stdout is not None
        assert any(b"grub>" in line or b"GNU GRUB" in line for line in child.stdout)
        child.kill()


def test_multiboot_2(make: Make, telling: Path, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(gzip.compress(b"initrd"))
    more: dict[str, object] = {"boot": "hvm", "cmdline": '"x y" z', "ramdisk": str(tmp_path / "initrd")}
    (artifact,) = make(telling / "told2.xen", settings=more)
    assert told(artifact.path, lines=3) == ['"x y" z', "", "masked"]


def test_a_packed_kernel(make: Make, telling: Path) -> None:
    packed = telling / "packed.xen"
    packed.write_bytes(gzip.compress((telling / "told.xen").read_bytes()))
    (artifact,) = make(packed, settings={"boot": "hvm", "cmdline": "-x"})
    assert told(artifact.path, lines=2) == ["-x", "masked"]


@settings(max_examples=3)
@given(texts=st.lists(TEXTS, min_size=150, max_size=150))
@example(texts=["", "a", '"a b"', 'x "a  b" y', "a   b", "$HOME ${x} `id`", "#a # b", "a;b&c|d", "--x=\u00e9"])
def test_a_command_line_arrives_as_it_was_said(make: Make, telling: Path, texts: list[str]) -> None:
    """Many at once: GRUB makes the command line of a module as it makes the kernel's."""
    said = sayable(texts)
    (artifact,) = make(telling / "told.xen", settings={"boot": "hvm"})
    cfg = grub_cfg("app", "/boot/told.xen", "", "multiboot")
    modules = [" ".join(["  module", GRUB_CFG, *map(quoted, arguments(text))]) for text in said]
    replaced(artifact.path, cfg.replace("  if", "\n".join([*modules, "  if"]), 1) if modules else cfg)
    assert told(artifact.path, lines=len(said) + 2) == ["", *said, "masked"]


def test_linux(make: Make, tmp_path: Path) -> None:
    """Debian's own bzImage, its payload packed as it may be; it is not waited for longer than it takes to tell."""
    kernels = sorted(Path("/boot").glob("vmlinuz-*-amd64"))
    if not kernels:
        pytest.skip("no /boot/vmlinuz-*-amd64 is there (package linux-image-amd64)")
    (tmp_path / "initrd").write_bytes(gzip.compress(b"no cpio"))
    more: dict[str, object] = {"cmdline": "console=ttyS0 x=$y panic=-1", "ramdisk": str(tmp_path / "initrd")}
    (artifact,) = make(kernels[-1], settings={"boot": "hvm", **more})
    with machine(artifact.path, "256") as child:
        assert child.stdout is not None
        lines = (line.decode(errors="replace").strip() for line in child.stdout)
        assert next((line for line in lines if "Command line:" in line), "").endswith(
            f"BOOT_IMAGE=/boot/{artifact.path.name.removesuffix('.xen.raw')}.xen console=ttyS0 x=$y panic=-1"
        )
        assert next((line for line in lines if "RAMDISK:" in line), "")
        child.kill()


@pytest.mark.parametrize(
    "cmdline, why",
    [
        ("a 'b c'", "'b c'"),
        ('--text="two words"', '"two words"'),
        ('"one"', '"one"'),
        ('"a b', '"a b'),
        ('"a b"c', '"a b"c'),
        ("back\\slash", "back"),
        ("a\\x41", "a"),
        ('"it\'s one"', '"it'),
    ],
)
def test_what_grub_would_change_is_refused(cmdline: str, why: str) -> None:
    with pytest.raises(UnsuitedError, match="cannot hand on") as caught:
        arguments(cmdline)
    assert why in caught.value.brief.replace("\\\\", "\\")
    assert ("no way to say a backslash" in caught.value.hint) is ("\\" in cmdline)


@given(TEXTS)
def test_arguments_come_to_the_command_line_again(text: str) -> None:
    """By GRUB's own rule: blanks between them, and quotes around one with a blank in it."""
    for said in sayable([text]):
        joined = " ".join(f'"{one}"' if " " in one else one for one in arguments(said))
        assert joined == said
        assert not set("".join(arguments(said))) & set("'\"\\")


@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_a_quoted_text_is_one_word_for_grub(texts: list[str]) -> None:
    """grub-script-check parses as GRUB does: quotes that do not match are an error at its end."""
    lines = "".join(f"echo {quoted(text)}\n" for text in texts)
    run("grub-script-check", stdin=lines.encode())


def test_the_files_of_such_a_disk() -> None:
    entry = BootEntry("app", "/boot/app.xen", "a b", "/boot/app.ramdisk", command="multiboot")
    files = boot_files(entry)
    assert set(files) == {GRUB_CFG}, "pygrub breaks on multiboot, and a menu.lst would be read by nobody"
    assert "  multiboot '/boot/app.xen' 'a' 'b'\n  module --nounzip '/boot/app.ramdisk'\n" in files[GRUB_CFG]
    linux = boot_files(BootEntry("app", "/boot/vmlinuz", "", "/boot/initrd.img", command="linux"))[GRUB_CFG]
    assert "  linux '/boot/vmlinuz'\n  initrd '/boot/initrd.img'\n" in linux
    assert "outb" not in linux
    with pytest.raises(RecipeError, match="no control characters"):
        boot_files(BootEntry("app", "/k", "a\nb", command="linux"))
