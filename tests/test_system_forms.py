"""A whole system in every form that there is: each is opened again, and gives the very disk."""

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.sparse import digest_file
from imagekit.unwrap import unwrapped
from imagekit.verify import verify
from tests.cli.conftest import Cli, cli
from tests.conftest import Make
from tests.kernel.elf_builder import bzimage, lz4_legacy, sized
from tests.publish.conftest import REGION, Open, rehearse

__all__ = ["cli", "rehearse"]

FORMS: Mapping[str, Mapping[str, object]] = {
    "xen": {},
    "ebs": {},
    "ami": {},
    "xcp": {"xcp.format": "vhd"},
    "xcp-raw": {"xcp.format": "raw"},
    "xcp-xva": {"xcp.format": "xva"},
    "openstack": {"openstack.format": "vhd"},
    "openstack-ovf": {"openstack.format": "ovf"},
    "openstack-raw": {"openstack.format": "raw"},
    "rackspace": {},
}
BY_PV_GRUB = {"ebs", "ami"}
LARGEST = 1700 << 20  # bytes of files in a system of 2 GiB

Every = Callable[[Path, str], dict[str, Artifact]]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a folder with a user's key, and what stands for EC2's certificate."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("own", "ec2"):
        out = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/", *out)
    return folder


@pytest.fixture
def every(make: Make, keys: Path, tmp_path: Path) -> Every:
    """Return a function that builds a tar in all forms, on a disk of that size: every(tar, "1GiB")."""
    named = {"private_key": str(keys / "own.key"), "ec2_cert": str(keys / "ec2.pem"), "user": "123456789012"}

    def make_them(tar: Path, size: str) -> dict[str, Artifact]:
        recipe = tmp_path / "system.toml"
        recipe.write_text(
            f'[root]\nfrom = "{tar}"\n[disk]\nlayout = "mbr"\nsize = "{size}"\n[filesystem]\ntype = "ext4"\n'
        )
        settings = {f"ami.{name}": value for name, value in named.items()}
        return {
            name: make(
                recipe, target=name.partition("-")[0], out=f"{tmp_path}/{name}/", settings={**settings, **more}
            )[0]
            for name, more in FORMS.items()
        }

    return make_them


def opened(artifact: Artifact, keys: Path) -> str:
    """Return the digest of the disk that is in an artifact."""
    with unwrapped(artifact.path, keys / "own.key") as raw:
        return digest_file(raw)


def of_debian(kernel: bytes) -> bytes:
    """Return a bzImage as Debian makes it for clouds, which Xen unpacks and PV-GRUB does not."""
    return bzimage(sized(lz4_legacy(kernel), len(kernel)))


@pytest.fixture
def tiny(kernels: Path, tmp_path: Path) -> Path:
    """Return a tar of a kernel as Debian packs it, and a file."""
    boot = tmp_path / "tree" / "boot"
    boot.mkdir(parents=True)
    (boot / "vmlinuz-6.1").write_bytes(of_debian((kernels / "hello.xen").read_bytes()))
    (boot.parent / "etc").mkdir()
    (boot.parent / "etc" / "hostname").write_text("tiny\n")
    with tarfile.open(tmp_path / "tiny.tar", "w") as tar:
        tar.add(boot.parent, ".")
    return tmp_path / "tiny.tar"


def test_a_tiny_one(tiny: Path, every: Every, keys: Path) -> None:
    made = every(tiny, "1GiB")
    disks = {name: opened(artifact, keys) for name, artifact in made.items()}
    assert len({disks[name] for name in FORMS if name not in BY_PV_GRUB}) == 1
    # PV-GRUB's kernel is the same in gzip, beside the tree's own.
    assert disks["ebs"] == disks["ami"] != disks["xen"]
    for name, kernel in (("xen", "vmlinuz-6.1"), ("ebs", "system.xen")):
        (told,) = [str(check) for check in verify(made[name].path) if check.name == "menu.lst"]
        assert f"kernel /boot/{kernel}" in told


def test_the_plan_tells_of_it(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "{tiny}"\n')
    said = cli("plan", "os.toml", "-t", "ebs")
    assert "repack" in said.out
    assert "repack" not in cli("plan", "os.toml", "-t", "xen").out


def test_no_packing_helps_a_kernel_without_an_entry(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(of_debian((kernels / "broken" / "no-notes.xen").read_bytes()))
    said = cli("build", "vmlinuz", "-t", "ami", "-o", "out.manifest.xml")
    assert (said.code, "it has no entry for PV" in said.err) == (3, True), said.err
    assert "repack" not in cli("cache", "ls").out


def test_a_bzimage_without_an_entry_of_xens_boots_as_hvm(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    """By GRUB's `linux`, and as it is: it unpacks itself. With one, PV comes first, packed anew if need be."""
    (tmp_path / "vmlinuz").write_bytes(of_debian((kernels / "broken" / "no-notes.xen").read_bytes()))
    said = cli("build", "vmlinuz", "-t", "ebs", "-o", "out.ebs")
    assert said.code == 0, said.err
    assert "vmlinuz for ebs: boots as HVM, by GRUB in its boot sector, since it has no entry for PV" in said.err
    assert "repack" not in cli("cache", "ls").out
    assert "linux /boot/vmlinuz.xen" in cli("verify", "out.ebs").err
    (tmp_path / "vmlinuz").write_bytes(of_debian((kernels / "hello.xen").read_bytes()))
    assert "repack" in cli("plan", "vmlinuz", "-t", "ebs").out
    plan = cli("plan", "vmlinuz", "-t", "ebs", "--boot", "hvm")
    assert ("repack" in plan.out, "grub-core" in plan.out) == (False, True)


@pytest.mark.long
def test_two_gib_of_debian(every: Every, keys: Path, rehearse: Open, cli: Cli, tmp_path: Path) -> None:
    """A Debian that is this machine's own: its newest kernel, and of its programs what fits."""
    tar = tmp_path / "debian.tar"
    fill(tar)
    made = every(tar, "2GiB")
    disks = {name: opened(artifact, keys) for name, artifact in made.items()}
    assert len(set(disks.values())) == 1
    assert all(list(verify(artifact.path)) for name, artifact in made.items() if name != "ami")
    read = tmp_path / "read.raw"
    for name in ("xcp", "openstack", "rackspace"):
        run("qemu-img", "convert", "-f", "vpc", "-O", "raw", made[name].path, read)
        assert digest_file(read) == disks["xen"]
    account = rehearse()
    assert cli("publish", made["ebs"].path, "--region", REGION).code == 0
    (snapshot,) = account.snapshots(REGION)
    snapshot.read_back(tmp_path / "back")
    assert digest_file(tmp_path / "back") == disks["ebs"]


def fill(tar: Path) -> None:
    """Write a tar of this machine's newest kernel and of /usr, in its order, as much as fits."""
    kernel = max(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    left = LARGEST
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as file:
        file.add(kernel, f"boot/{kernel.name}")
        for path in sorted(Path("/usr").rglob("*")):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > left:
                continue
            info = file.gettarinfo(path, str(path).lstrip("/"))
            if info.isreg():
                left -= info.size
                with path.open("rb") as content:
                    file.addfile(info, content)
