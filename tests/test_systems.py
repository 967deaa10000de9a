"""Images of whole trees: the kernel lies in the tree, and finds its root by label or device."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from imagekit.build import Runner
from imagekit.prepare import Request, prepare
from imagekit.store import Store
from tests.cli.conftest import Cli, cli, hello, script

__all__ = ["cli", "hello", "script"]


@pytest.fixture
def system(cli: Cli, hello: Path, tmp_path: Path) -> Path:  # noqa: ARG001 -- it is in that folder
    """A tar of a tree that has a kernel of 6.1."""
    tree = tmp_path / "tree"
    (tree / "boot" / "grub").mkdir(parents=True)
    shutil.copy(hello, tree / "boot" / "vmlinuz-6.1")
    (tree / "boot" / "grub" / "grub.cfg").write_text("theirs")
    with tarfile.open(tmp_path / "system.tar.gz", "w:gz") as tar:
        tar.add(tree, ".")
    return tmp_path / "system.tar.gz"


def told(cli: Cli, image: str = "out.raw") -> str:
    """Return what `verify` tells of a good image."""
    said = cli("verify", image)
    assert said.code == 0, said.err
    return said.err


def written(tmp_path: Path, more: str = "") -> Path:
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "system.tar.gz"\n{more}')
    return tmp_path / "os.toml"


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("target", ["xen", "ebs", "xcp", "openstack", "rackspace"])
def test_every_target_takes_it(target: str, cli: Cli, tmp_path: Path) -> None:
    said = cli("build", written(tmp_path, '[disk]\nlayout = "mbr"\n'), "-t", target, "-q", "-o", "out.img")
    assert said.code == 0, said.err
    seen = told(cli, "out.img")
    assert "kernel /boot/vmlinuz-6.1" in seen
    assert "'root=/dev/xvda1 ro console=hvc0'" in seen


@pytest.mark.usefixtures("system")
def test_the_root_of_a_whole_disk(cli: Cli, tmp_path: Path) -> None:
    assert cli("build", written(tmp_path), "-q", "-o", "out.raw").code == 0
    assert "'root=/dev/xvda ro console=hvc0'" in told(cli)


def test_a_root_by_label(system: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tree" / "boot" / "initrd.img-6.1").write_bytes(b"initrd")
    with tarfile.open(system, "w:gz") as tar:
        tar.add(tmp_path / "tree", ".")
    assert cli("build", written(tmp_path), "-q", "-o", "out.raw").code == 0
    said = told(cli)
    assert "label root" in said
    assert "'root=LABEL=root ro console=hvc0'" in said
    recipe = written(tmp_path, '[filesystem]\nlabel = "sys"\n')
    assert cli("build", recipe, "-q", "-o", "out.raw", "--cmdline", "quiet").code == 0
    assert "'root=LABEL=sys quiet'" in told(cli)
    assert cli("build", recipe, "-q", "-o", "out.raw", "--cmdline", "root=/dev/sda rw").code == 0
    assert "'root=/dev/sda rw'" in told(cli)


@pytest.mark.usefixtures("system")
def test_a_kernel_of_the_user_s(cli: Cli, hello: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "os.toml"
    recipe.write_text(f'kernel = "{hello}"\n[root]\nfrom = "system.tar.gz"\n')
    assert cli("build", recipe, "-q", "-o", "out.raw").code == 0
    assert "kernel /boot/os.xen" in told(cli)


@pytest.mark.usefixtures("system")
def test_bad_recipes(cli: Cli, tmp_path: Path) -> None:
    said = cli("build", written(tmp_path, 'kernel = "/boot/none"\n'))
    assert (said.code, "has no file /boot/none" in said.err) == (2, True)
    (tmp_path / "os.toml").write_text('[root]\nfrom = "none.tar"\n')
    said = cli("build", tmp_path / "os.toml")
    assert (said.code, "root.from" in said.err) == (2, True), said.err
    (tmp_path / "os.toml").write_text("")
    said = cli("build", tmp_path / "os.toml")
    assert (said.code, "no kernel is named" in said.err) == (2, True)


@pytest.mark.usefixtures("system")
def test_a_root_behind_a_boot_partition(cli: Cli, tmp_path: Path) -> None:
    recipe = written(tmp_path, '[disk]\nlayout = "gpt"\nboot = "8MiB"\n')
    assert cli("build", recipe, "-q", "-o", "out.raw").code == 0
    assert "'root=/dev/xvda2 ro console=hvc0'" in told(cli)


@pytest.mark.usefixtures("system")
def test_linux_alone_opens_no_lvm(cli: Cli, tmp_path: Path) -> None:
    said = cli("build", written(tmp_path, '[disk]\nlayout = "gpt"\nboot = "8MiB"\nlvm = {}\n'))
    assert (said.code, said.err.splitlines()[0]) == (
        2,
        "error: Linux alone opens no LVM, and the tree has no initrd",
    )


def test_a_root_on_lvm(system: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "tree" / "boot" / "initrd.img-6.1").write_bytes(b"initrd")
    with tarfile.open(system, "w:gz") as tar:
        tar.add(tmp_path / "tree", ".")
    text = '[disk]\nlayout = "gpt"\nboot = "8MiB"\nlvm = { group = "vg-a" }\n'
    with store.in_use():
        prepared = prepare(Request([written(tmp_path, text)]), Runner(store), {})
    assert prepared.images["os"].cmdline == "root=/dev/mapper/vg--a-root ro console=hvc0"


@pytest.mark.usefixtures("system")
def test_plan_tells_what_is_not_reproducible(cli: Cli, tmp_path: Path) -> None:
    recipe = written(tmp_path, '[disk]\nlayout = "mbr"\nboot = "8MiB"\n[filesystem]\ntype = "xfs"\n')
    said = cli("plan", recipe)
    assert said.code == 0, said.err
    assert "os for xen: made by guestfs: no two builds are the same bytes" in said.err
    assert len(json.loads(cli("plan", "--json", recipe).out)["notes"]) == 1


@pytest.mark.parametrize(
    "more, cmdline, kind",
    [
        ("", "root=/dev/xvda1 ro console=hvc0 console=ttyS0", "ext2"),
        (
            '[disk]\nboot = "8MiB"\n[filesystem]\ntype = "ext4"\n',
            "root=/dev/xvda2 ro console=hvc0 console=ttyS0",
            "ext4",
        ),
        ('[filesystem]\nlabel = "sys"\n', "root=/dev/xvda1 ro console=hvc0 console=ttyS0", "ext2"),
    ],
)
def test_a_system_in_an_hvm_guest(
    system: Path, kernels: Path, cli: Cli, tmp_path: Path, more: str, cmdline: str, kind: str
) -> None:
    """By GRUB in the boot sector, on a partition, and its words on the serial port that such a host shows."""
    shutil.copy(kernels / "hello-pvh.xen", tmp_path / "tree" / "boot" / "vmlinuz-6.2")
    with tarfile.open(system, "w:gz") as tar:
        tar.add(tmp_path / "tree", ".")
    assert cli("build", written(tmp_path, more), "--boot", "hvm", "-q", "-o", "out.raw").code == 0
    said = told(cli)
    assert f"multiboot /boot/vmlinuz-6.2, with '{cmdline}'" in said
    assert f"{kind}, UUID" in said
    assert (
        cli("build", written(tmp_path, more), "--boot", "hvm", "-q", "-o", "out.raw", "--cmdline", "quiet").code
        == 0
    )
    assert f"'{cmdline.partition(' ')[0]} quiet'" in told(cli)
