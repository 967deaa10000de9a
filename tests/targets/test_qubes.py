"""Qubes OS: what is made for its dom0, and what it cannot have. All through the command line."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import Cli, cli, hello
from tests.kernel.multiboot2 import by_multiboot2

__all__ = ["cli", "hello"]


@pytest.fixture
def pvh(kernels: Path) -> Path:
    return kernels / "hello-pvh.xen"


def build(cli: Cli, kernel: Path, *more: str) -> Path:
    said = cli("build", kernel, "-t", "qubes", "-o", "app.tar", "-q", "--set", "name=app", *more)
    assert said.code == 0, said.err
    return Path("app.tar")


def recipe(kernel: Path, more: str = "") -> Path:
    Path("app.toml").write_text(f'kernel = "{kernel}"\nname = "app"\ntargets = ["qubes"]\n{more}')
    return Path("app.toml")


@pytest.mark.parametrize("name,guest", [("hello-pvh.xen", "pvh"), ("hello.xen", "pv"), ("hello.xen.gz", "pv")])
def test_what_is_made_verifies(cli: Cli, kernels: Path, name: str, guest: str) -> None:
    kernel = kernels / name
    said = cli("build", kernel, "-t", "qubes", "-o", "out/", "--json", "-q", "--cmdline", "a=1 b='two three'")
    assert said.code == 0, said.err
    (made,) = json.loads(said.out)["artifacts"]
    stem = name.partition(".")[0]
    assert made["path"] == f"out/{stem}.qubes.tar"
    with tarfile.open(made["path"]) as archive:
        assert archive.getnames() == [stem, f"{stem}/initramfs", f"{stem}/vmlinuz"]
        file = archive.extractfile(f"{stem}/vmlinuz")
        assert file
        assert file.read() == kernel.read_bytes()
    told = cli("verify", made["path"], "--json")
    assert told.code == 0, told.err
    checks = json.loads(told.out)["checks"]
    assert {check["verdict"] for check in checks} == {"ok"}
    assert {check["check"] for check in checks} >= {"VM-KERNEL", "digest", "tar", "kernel", "commands"}
    sidecar = json.loads(Path(f"{made['path']}.imagekit.json").read_bytes())
    assert (sidecar["boot"]["guest"], sidecar["boot"]["way"], sidecar["layout"]) == (guest, guest, None)
    assert sidecar["digest"] == sidecar["kernel"]["digest"]


def test_the_commands_name_the_tar_by_its_sum(cli: Cli, pvh: Path) -> None:
    tar = build(cli, pvh, "--memory", "32MiB")
    text = Path("app.tar.readme.txt").read_text()
    assert hashlib.sha256(tar.read_bytes()).hexdigest() in text
    assert "--property memory=32 \\\n" in text
    assert ">app.tar\n" in text
    assert "--file app.tar --directory" in text
    assert "hello-pvh" not in text


def test_verify_tells_the_sum_that_sha256sum_prints(cli: Cli, pvh: Path) -> None:
    build(cli, pvh)
    sum_ = run("sha256sum", "app.tar").stdout.decode().split()[0]
    told = cli("verify", "app.tar")
    assert f"commands: app.tar.readme.txt, with the SHA-256 of app.tar, {sum_}\n" in told.err
    assert "VM-KERNEL: 20480 bytes, by blocks " in told.err


def test_the_commands_are_of_the_file_that_was_made(cli: Cli, pvh: Path) -> None:
    """Two names of one build: each has its own commands, whatever the store knows."""
    for name in ("one.tar", "the other.tar"):
        assert cli("build", pvh, "-t", "qubes", "-o", name, "-q").code == 0
        text = Path(f"{name}.readme.txt").read_text()
        assert f"  {name}' | sha256sum --check && \\\n" in text
        assert cli("verify", name).code == 0
    said = cli("build", pvh, "-t", "qubes", "-o", "it's.tar", "-q")
    assert (said.code, Path("it's.tar").exists()) == (2, False)
    assert "cannot name the file" in said.err


def test_all_that_a_recipe_says_of_the_qube(cli: Cli, pvh: Path) -> None:
    path = recipe(
        pvh,
        'vcpus = 2\ncmdline = "--l=*:info"\n[qubes]\nname = "fire-wall"\nlabel = "green"\nnetvm = "sys-net"\n'
        'provides_network = true\nfeatures = { qubes-firewall = "1" }\n',
    )
    assert cli("build", path, "-o", "app.tar", "-q").code == 0
    text = Path("app.tar.readme.txt").read_text()
    for words in (
        "--class StandaloneVM --label green ",
        "virt_mode=pvh ",
        "kernel=fire-wall ",
        "vcpus=2 ",
        "'kernelopts=--l=*:info' ",
        "netvm=sys-net ",
        "provides_network=True fire-wall\n",
        "qvm-features fire-wall qubes-firewall 1\n",
    ):
        assert words in text
    assert run("tar", "-tf", "app.tar").stdout.splitlines()[0] == b"fire-wall/"
    assert cli("verify", "app.tar").code == 0


def test_a_ramdisk_is_the_initramfs(cli: Cli, pvh: Path) -> None:
    Path("initrd").write_bytes(b"a ramdisk")
    assert cli("build", recipe(pvh, 'ramdisk = "initrd"\n'), "-o", "app.tar", "-q").code == 0
    assert run("tar", "-xOf", "app.tar", "app/initramfs").stdout == b"a ramdisk"
    assert cli("verify", "app.tar").code == 0


def test_a_ramdisk_that_is_none(cli: Cli, pvh: Path) -> None:
    with Path("initrd").open("wb") as file:
        file.truncate((512 << 20) + 1)
    said = cli("build", recipe(pvh, 'ramdisk = "initrd"\n'), "-o", "app.tar", "-q")
    assert (said.code, Path("app.tar").exists()) == (2, False)
    assert "the initramfs is too large for Qubes' dom0: 536870913 bytes" in said.err


def test_it_is_inspected(cli: Cli, pvh: Path) -> None:
    build(cli, pvh)
    said = cli("inspect", "app.tar")
    assert said.code == 0, said.err
    assert said.out.startswith("app.tar: PVH kernel")
    assert "/var/lib/qubes/vm-kernels/app/vmlinuz" in said.out
    assert "an empty one" in said.out
    told = json.loads(cli("inspect", "app.tar", "--json").out)
    assert (told["kind"], told["wrapping"][0]) == ("kernel", ["form", "tar of a kernel's folder, for Qubes' dom0"])


@pytest.mark.parametrize(
    "boot,name,code,words",
    [
        ("pvh", "hello.xen", 3, "missing: PHYS32_ENTRY (note 18)"),
        ("pv", "hello-pvh.xen", 3, "missing: ENTRY or VIRT_BASE"),
        ("auto", "broken/no-notes.xen", 3, "no entry for PVH"),
    ],
)
def test_a_kernel_that_no_qube_boots(cli: Cli, kernels: Path, boot: str, name: str, code: int, words: str) -> None:
    said = cli("build", kernels / name, "-t", "qubes", "--boot", boot, "-o", "app.tar")
    assert (said.code, Path("app.tar").exists()) == (code, False)
    assert words in said.err


def test_a_kernel_that_a_template_boots(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    """GRUB starts it, where Xen's builder does not: the format that has GRUB is named."""
    kernel = by_multiboot2(kernels, tmp_path)
    said = cli("build", kernel, "-t", "qubes", "-o", "app.tar")
    assert (said.code, Path("app.tar").exists()) == (3, False)
    assert '; or qubes.format = "template"\n' in said.err
    told = cli("build", kernel, "-t", "qubes", "-o", "app.img", "--set", "qubes.format=template", "-q")
    assert told.code == 0, told.err
    for more in (("--boot", "pv"), ("--boot", "hvm")):
        assert "qubes.format" not in cli("build", kernel, "-t", "qubes", "-o", "app.tar", *more).err


@pytest.mark.parametrize(
    "more,words",
    [
        ('[qubes]\nname = "none"\n', "no qube may be called 'none'"),
        ('[qubes]\nname = "app-dm"\n', "no qube may be called"),
        (f'cmdline = "{"a" * 513}"\n', "512 characters"),
        ('cmdline = "naïve"\n', "printable ASCII"),
        ('[[root.files]]\nfrom = "app.toml"\n', "has no root file system"),
        ('disk.layout = "mbr"\ndisk.size = "1GiB"\n', "has no disk, and no disk.layout and disk.size"),
        ('filesystem.type = "ext4"\n', "has no disk, and no filesystem.type"),
        ('filesystem.type = "ext4"\n', 'hint: qubes.format = "template"'),
        ('[[vif]]\nbridge = "xenbr0"\n', "hint: qubes.netvm says where its network comes from"),
        ('qubes.format = "template"\n[[vif]]\n', "a qube has no vif"),
        ('[[extra_disk]]\npath = "/dev/vg0/data"\nvdev = "xvdb"\n', "a qube has no extra_disk"),
    ],
)
def test_settings_that_dom0_does_not_take(cli: Cli, pvh: Path, more: str, words: str) -> None:
    said = cli("build", recipe(pvh, more), "-o", "app.tar")
    assert (said.code, Path("app.tar").exists()) == (2, False)
    assert words in said.err


def test_what_says_no_more_than_the_defaults(cli: Cli, pvh: Path) -> None:
    more = 'disk.layout = "auto"\nfilesystem.type = "ext2"\nfilesystem.free = "1MiB"\n'
    said = cli("build", recipe(pvh, more), "-o", "app.tar", "-q")
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    "more", ['name = "1app"', 'name = "a b"', 'netvm = "-x"', 'label = "pink"', 'features = { a = "--unset" }']
)
def test_a_recipe_that_cannot_be_meant(cli: Cli, pvh: Path, more: str) -> None:
    said = cli("build", recipe(pvh, f"[qubes]\n{more}\n"), "-o", "app.tar")
    assert said.code == 2
    assert f"qubes.{more.partition(' ')[0]}" in said.err


def test_a_name_of_an_image_that_no_qube_may_have(cli: Cli, pvh: Path) -> None:
    said = cli("build", pvh, "-t", "qubes", "-o", "app.tar", "--set", "name=9lives")
    assert (said.code, "qubes.name names it" in said.err) == (2, True)
    assert (
        cli("build", pvh, "-t", "qubes", "-o", "a.tar", "--set", "name=9lives", "--set", "qubes.name=n").code == 0
    )


def test_nothing_uploads_it(cli: Cli, pvh: Path) -> None:
    build(cli, pvh)
    said = cli("publish", "app.tar")
    assert said.code == 2
    assert "error: app.tar is not uploaded: nothing uploads what is for qubes\n" in said.err
    assert "hint: dom0 has no network: the commands for it are in app.tar.readme.txt\n" in said.err


@pytest.mark.parametrize("arguments", [("convert", "app.tar", "app.vhd"), ("shell", "app.tar", "-c", "ls /")])
def test_it_holds_no_disk(cli: Cli, pvh: Path, arguments: tuple[str, ...]) -> None:
    build(cli, pvh)
    said = cli(*arguments)
    assert said.code == 2, said.err
    assert "no disk" in said.err


def test_its_statement_makes_it_again(cli: Cli, pvh: Path) -> None:
    Path("pvh.xen").write_bytes(pvh.read_bytes())
    assert cli("build", recipe(Path("pvh.xen")), "-o", "app.tar", "--provenance", "-q").code == 0
    run("sha256sum", "--check", "app.tar.SHA256SUMS")
    said = cli("verify", "app.tar", "--rebuild")
    assert said.code == 0, said.err
    assert "the same bytes" in said.err


def lied(place: str, old: bytes, new: bytes) -> None:
    path = Path(place)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    "place,old,new,words",
    [
        ("app.tar", b"hello from", b"HELLO from", "is not the file that its sidecar describes"),
        ("app.tar.readme.txt", b"memory=64", b"memory=65", "is not as it was made"),
        ("app.tar.imagekit.json", b'"/app/vmlinuz"', b'"/other/vmlinuz"', "not where the sidecar has it"),
        ("app.tar.imagekit.json", b'"layout": null', b'"layout": {}', "says what cannot be"),
        ("app.tar.imagekit.json", b'"guest": "pvh"', b'"guest": "hvm2"', "says what cannot be"),
        ("app.tar.imagekit.json", b'"target": "qubes"', b'"target": "xen"', ""),
    ],
)
def test_a_lie_is_found(cli: Cli, pvh: Path, place: str, old: bytes, new: bytes, words: str) -> None:
    build(cli, pvh)
    lied(place, old, new)
    said = cli("verify", "app.tar")
    assert said.code == 6, said.err
    assert words in said.err


def test_without_its_sidecar(cli: Cli, pvh: Path, kernels: Path) -> None:
    build(cli, pvh)
    Path("app.tar.imagekit.json").unlink()
    assert cli("verify", "app.tar", "-t", "qubes").code == 0
    Path("app").mkdir()
    Path("app/vmlinuz").write_bytes((kernels / "broken" / "no-notes.xen").read_bytes())
    Path("app/initramfs").write_bytes(b"")
    run("tar", "--owner=0", "--group=0", "-cf", "app.tar", "app")
    said = cli("verify", "app.tar", "-t", "qubes")
    assert said.code == 6
    assert "cannot boot on qubes" in said.err


def test_one_without_an_initramfs(cli: Cli, pvh: Path) -> None:
    """R4.1 would refuse it: what is wanted is said."""
    Path("app").mkdir()
    Path("app/vmlinuz").write_bytes(pvh.read_bytes())
    run("tar", "--owner=0", "--group=0", "-cf", "app.tar", "app")
    said = cli("verify", "app.tar", "-t", "qubes")
    assert said.code == 6
    assert "other files in app.tar than these: app/, app/initramfs, app/vmlinuz\n" in said.err


def test_a_damaged_kernel_is_told_of_by_its_place_in_the_tar(cli: Cli, pvh: Path) -> None:
    tar = build(cli, pvh)
    data = tar.read_bytes()
    tar.write_bytes(at(data, data.index(b"\x7fELF")))
    said = cli("inspect", "app.tar")
    assert said.code == 6
    assert "error: app.tar: vmlinuz in it: neither a kernel nor a raw disk image\n" in said.err
    assert "imagekit-disk-" not in said.err


@pytest.mark.parametrize("command", [("inspect",), ("verify", "-t", "qubes"), ("prove", "--by", "pvh")])
@pytest.mark.parametrize("size", [512, 3000])
def test_a_cut_one_is_no_disk(cli: Cli, pvh: Path, command: tuple[str, ...], size: int) -> None:
    tar = build(cli, pvh)
    Path("cut.tar").write_bytes(tar.read_bytes()[:size])
    said = cli(*command, "cut.tar")
    assert said.code == 6
    assert "cut.tar is a damaged tar: " in said.err


def test_one_with_other_owners_is_found(cli: Cli, pvh: Path) -> None:
    build(cli, pvh)
    Path("app.tar.imagekit.json").unlink()
    run("tar", "-xf", "app.tar")
    run("tar", "--owner=1000", "--group=1000", "-cf", "app.tar", "app")
    said = cli("verify", "app.tar", "-t", "qubes")
    assert said.code == 6
    assert "root's" in said.err


def at(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda data: data[:512], ("is 19968 bytes shorter than", "512 bytes; its sidecar says 20480")),
        (lambda _: b"", ("is 20480 bytes shorter than", "0 bytes; its sidecar says 20480")),
        (lambda data: data + b"\0", ("is 1 bytes longer than", "20481 bytes; its sidecar says 20480")),
        (lambda data: at(data, 110), ("not the file that its sidecar describes", "damaged tar: bad checksum")),
        (lambda data: at(data, 258), ("not the file that its sidecar describes", "damaged tar: bad checksum")),
    ],
    ids=["cut", "empty", "longer", "a header's mode", "a header's magic"],
)
def test_a_damaged_one_is_held_against_its_own_length(
    cli: Cli, pvh: Path, change: Callable[[bytes], bytes], words: tuple[str, ...]
) -> None:
    tar = build(cli, pvh)
    tar.write_bytes(change(tar.read_bytes()))
    said = cli("verify", "app.tar")
    assert said.code == 6, said.err
    assert all(one in said.err for one in words), said.err
