"""Each lie that an artifact can tell is found, with its plain reason.

Where a lie is in the image, the sidecar's digests are made to agree: what is found is not found by those.
"""

import os
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.errors import UsageError, VerificationError
from imagekit.sparse import BLOCK, digest_file
from imagekit.verify import verify
from tests.verify.lie import GRUB_CFG, MENU, MIB, Built, Lie

MENU_TEXT = b"default 0\ntimeout 0\ntitle hello\nroot (hd0)\nkernel /boot/hello.xen a=1 b=two\n"
GRUB_TEXT = b'set default=0\nset timeout=0\nmenuentry "hello" {\n  linux /boot/hello.xen a=1 b=two\n}\n'


def told(image: Lie, target: str | None = None) -> str:
    """Return what the VerificationError says, which must come."""
    with pytest.raises(VerificationError) as error:
        list(verify(image.main, target=target))
    return f"{error.value.brief}\n{error.value.details}"


def test_a_truncated_image(artifact: Built) -> None:
    image = artifact()
    os.truncate(image.main, image.main.stat().st_size - 1000)
    assert "hello.xen.raw is 1000 bytes shorter than it was made" in told(image)


def test_a_longer_image(artifact: Built) -> None:
    image = artifact()
    os.truncate(image.main, image.main.stat().st_size + 1)
    assert "1 bytes longer" in told(image)


def test_a_flipped_byte(artifact: Built, kernels: Path) -> None:
    image = artifact()
    flip(image, kernels / "hello.xen")
    assert "hello.xen.raw is not the file that its sidecar describes" in told(image)


def test_a_flipped_byte_of_a_volume_is_told_by_its_block(artifact: Built, kernels: Path) -> None:
    image = artifact(target="ebs", disk__layout="mbr")
    block = flip(image, kernels / "hello.xen") // BLOCK
    said = told(image)
    assert "differs from its sidecar's list in 1 blocks" in said
    assert f"block {block}, from byte {block * BLOCK}" in said


def test_a_flipped_byte_of_the_kernel_under_true_digests(artifact: Built, kernels: Path) -> None:
    image = artifact()
    flip(image, kernels / "hello.xen")
    image.seal()
    assert f"the kernel that {GRUB_CFG} boots is not the one in the sidecar" in told(image)


@pytest.mark.parametrize("root", [b"(hd0,0)", b"(hd1)", b""])
def test_a_wrong_root(artifact: Built, root: bytes) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT.replace(b"root (hd0)", b"root " + root if root else b""))
    said = told(image)
    assert "menu.lst says root" in said
    assert "and the file system is (hd0)" in said


def test_a_root_for_a_plain_disk_on_a_partition(artifact: Built) -> None:
    image = artifact(disk__layout="gpt")
    image.write(MENU, MENU_TEXT, offset=MIB)
    assert "menu.lst says root (hd0), and the file system is (hd0,0)" in told(image)


@pytest.mark.parametrize("timeout", [b"", b"timeout 5", b"timeout 00", b"timeout -1"])
def test_a_menu_that_waits(artifact: Built, timeout: bytes) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT.replace(b"timeout 0", timeout))
    assert "menu.lst says timeout" in told(image)


def test_a_menu_with_another_command_line(artifact: Built) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT.replace(b"b=two", b"b=three"))
    assert "menu.lst's command line is 'a=1 b=three'\nthe sidecar says 'a=1 b=two'" in told(image)


def test_a_menu_with_another_kernel(artifact: Built) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT.replace(b"/boot/hello.xen", b"/boot/menu.lst"))
    assert "menu.lst's kernel is '/boot/menu.lst'" in told(image)


def test_no_menu(artifact: Built) -> None:
    image = artifact()
    image.remove(MENU)
    assert f"the image has no {MENU}" in told(image)


def test_a_menu_without_end(artifact: Built) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT + b"#" * 70_000)
    assert f"{MENU} is longer than 65536 bytes" in told(image)


def test_a_missing_kernel(artifact: Built) -> None:
    image = artifact()
    image.remove("/boot/hello.xen")
    assert "menu.lst names /boot/hello.xen, and there is no such file" in told(image)


def test_menus_that_disagree(artifact: Built) -> None:
    image = artifact()
    image.write(GRUB_CFG, GRUB_TEXT.replace(b"two", b"three"))
    said = told(image)
    assert f"{GRUB_CFG} and {MENU} disagree" in said
    assert "a=1 b=three" in said


def test_a_grub_cfg_that_hides_a_menu(artifact: Built) -> None:
    image = artifact(cmdline="a=$b")
    image.write(GRUB_CFG, GRUB_TEXT.replace(b"a=1 b=two", b"other"))
    assert "disagree" in told(image)


def test_menus_that_agree_on_another_command_line(artifact: Built) -> None:
    image = artifact()
    image.tell("boot.cmdline", "another")
    assert "menu.lst's command line" in told(image)


def test_a_grub_cfg_without_a_kernel(artifact: Built) -> None:
    image = artifact()
    image.write(GRUB_CFG, GRUB_TEXT.replace(b"/boot/hello.xen", b"/boot/none.xen"))
    assert f"pygrub finds no kernel by {GRUB_CFG}" in told(image)


def test_a_damaged_file_system(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    image.put(MIB + 2048 + 12, b"\x01\x00")  # the first group's count of free blocks
    assert "e2fsck finds the file system damaged" in told(image)


def test_a_damaged_fat(artifact: Built) -> None:
    image = artifact(filesystem__type="fat16", disk__layout="mbr")
    image.put(MIB + 4 * 512 + 20, b"\x77\x77")  # in the first FAT, but not in the second
    assert "fsck.fat finds the file system damaged" in told(image)


def test_no_file_system(artifact: Built) -> None:
    image = artifact()
    image.put(0, bytes(8192))
    assert "there is no file system at byte 0\nnone that blkid knows" in told(image)


@pytest.mark.parametrize(
    "place,value,reason",
    [
        ("layout.filesystem.type", "ext3", "the file system's type is 'ext2'"),
        ("layout.filesystem.label", "other", "the file system's label is ''"),
        ("layout.filesystem.uuid", "00000000-0000-8000-8000-000000000000", "the file system's UUID is "),
        ("layout.disk", "mbr", "the layout is gpt"),
        ("layout.offset", 2 * MIB, "the file system's offset is 1048576"),
        ("layout.identity", "00" * 32, "the disk's GUID is "),
        ("kernel.digest", "00" * 32, "the kernel that /boot/grub/grub.cfg boots is not"),
        ("kernel.path", "/boot/menu.lst", "menu.lst's kernel is '/boot/hello.xen'"),
        ("kernel.kind", "pvh", "kind: pv, not pvh"),
        ("kernel.multiboot2", 7, "multiboot2: False, not 7"),
        ("kernel.new", 7, "new: None, not 7"),
        ("architecture", "i386", "architecture: x86_64, not i386"),
        ("boot.way", "pv", "the sidecar names no .xen"),
        ("boot.guest", "pvh", "hello.xen.raw.cfg: the type is 'pv'"),
        ("boot.memory", 65 * MIB, "hello.xen.raw.cfg: the memory in MiB is '64'"),
        ("boot.vcpus", 2, "hello.xen.raw.cfg: the vcpus is '1'"),
        ("boot.path", "/srv/x.raw", "hello.xen.raw.cfg: the disk is '/var/lib/xen/images/hello.xen.raw'"),
        ("image", "other", "hello.xen.raw.cfg: the name is 'hello'"),
        ("companions", {}, "the sidecar names no .cfg"),
        ("digest", "00" * 32, "not the file that its sidecar describes"),
        ("length", 1, "longer than it was made"),
    ],
)
def test_an_edited_sidecar(artifact: Built, place: str, value: object, reason: str) -> None:
    image = artifact(disk__layout="gpt")
    image.tell(place, value)
    assert reason in told(image)


def test_a_kernel_that_cannot_boot_as_its_sidecar_says(artifact: Built) -> None:
    image = artifact(kernel="hello-pvh.xen")
    image.tell("boot.way", "pygrub")
    assert "the kernel cannot boot on xen: it has no entry for PV" in told(image)


def test_a_signature_of_another_disk(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    image.put(0x1B8, b"abcd")
    assert "the disk's signature is 0x64636261" in told(image)


def test_a_partition_of_another_type(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    image.put(446 + 4, b"\x0c")
    assert "the partition's type is c\nby its sidecar it should be one for ext2" in told(image)


def test_a_second_partition(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    image.put(462 + 4, b"\x83\0\0\0" + (3000).to_bytes(4, "little") + (10).to_bytes(4, "little"))
    assert "the number of partitions is 2" in told(image)


def test_a_partition_beyond_the_end(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    image.put(446 + 12, (1 << 20).to_bytes(4, "little"))
    assert "the partition reaches beyond the end of the disk" in told(image)


def test_a_table_that_nobody_boots_from(artifact: Built) -> None:
    image = artifact(disk__layout="mbr")
    run("sfdisk", "-q", "--wipe=never", image.main, stdin=b"label: sun\n")
    image.seal()
    assert "a partition table of the kind sun, which none boots from" in told(image)


def test_a_damaged_second_copy_of_the_gpt(artifact: Built) -> None:
    image = artifact(disk__layout="gpt")
    image.put(image.main.stat().st_size - 512 + 60, b"X")
    assert "the two copies of the GPT are not both whole" in told(image)


def test_an_edited_configuration(artifact: Built) -> None:
    image = artifact()
    path = image.main.with_name("hello.xen.raw.cfg")
    path.write_text(path.read_text().replace("64", "128"))
    assert "hello.xen.raw.cfg is not as it was made" in told(image)


def test_a_missing_companion(artifact: Built) -> None:
    image = artifact()
    image.main.with_name("hello.xen.raw.xml").unlink()
    assert "hello.xen.raw.xml is missing" in told(image)


@pytest.mark.parametrize(
    "suffix,old,new,reason",
    [
        (".cfg", "memory = 64", "memory = 65", "the memory in MiB is '65'"),
        (".cfg", 'type = "pv"', 'type = "pvh"', "the type is 'pvh'"),
        (".cfg", "memory =", "memory", "Xen cannot read this configuration"),
        (".cfg", "xvda", "hda", "the disk's device is 'hda'"),
        (".cfg", "format=raw", "format=vhd", "the disk's format is 'vhd'"),
        (".cfg", "pygrub", "pvgrub", "the boot loader is 'pvgrub'"),
        (".cfg", "vcpus", 'cmdline = "x"\nvcpus', "the command line is 'x'"),
        (".cfg", "disk = [", "disks = [", "the configuration has no disk"),
        (".cfg", "memory", "#" * 70_000 + "\nmemory", "is longer than 65536 bytes"),
        (".xm.cfg", "vcpus = 1", "vcpus = 2", "the vcpus is '2'"),
        (".xml", "<memory", "<memori", "this is no XML"),
        (".xml", "<vcpu>1</vcpu>", "<cpus>1</cpus>", "is no domain by libvirt's schema"),
        (".xml", ">64<", ">65<", "the memory in MiB is '65'"),
        (".xml", "MiB", "KiB", "the memory in MiB is ''"),
        (".xml", "hello.xen.raw", "other.raw", "the disk is '/var/lib/xen/images/other.raw'"),
        (".xml", "<!--", "<!DOCTYPE domain [<!ENTITY a 'b'>]>\n<!--", "a document type of its own"),
    ],
)
def test_a_companion_that_says_otherwise(artifact: Built, suffix: str, old: str, new: str, reason: str) -> None:
    image = artifact()
    image.companion(suffix, old, new)
    assert reason in told(image)


def test_another_kernel_beside_the_image(artifact: Built, kernels: Path) -> None:
    image = artifact(xen__loader="direct")
    other = kernels / "hello-legacy.xen"
    image.main.with_name("hello.xen.raw.xen").write_bytes(other.read_bytes())
    image.tell("companions./xen", digest_file(other))
    assert "the kernel beside the image is not the one on the disk" in told(image)


def test_a_volume_of_no_whole_gib(artifact: Built) -> None:
    image = artifact(target="ebs")
    os.truncate(image.main, image.main.stat().st_size + 512)
    image.seal()
    assert "an EBS volume is a whole number of GiB" in told(image)


def test_a_volume_without_its_list(artifact: Built) -> None:
    image = artifact(target="ebs")
    image.forget("blocks")
    assert "the sidecar lists no blocks" in told(image)


def test_an_artifact_of_another_target(artifact: Built) -> None:
    assert "was not built for ebs\nits sidecar says xen" in told(artifact(), target="ebs")


def test_a_sidecar_alone(artifact: Built) -> None:
    image = artifact()
    image.main.unlink()
    with pytest.raises(VerificationError, match=r"there is a sidecar, and no hello\.xen\.raw beside it"):
        list(verify(image.sidecar))


def test_without_a_sidecar_a_volume_needs_its_menu(artifact: Built) -> None:
    image = artifact(target="ebs")
    image.remove(MENU)
    image.sidecar.unlink()
    assert f"the image has no {MENU}" in told(image, target="ebs")


def test_without_a_sidecar_a_menu_may_wait(artifact: Built) -> None:
    image = artifact()
    image.write(MENU, MENU_TEXT.replace(b"timeout 0", b"timeout 3"))
    image.sidecar.unlink()
    assert {check.name for check in verify(image.main, target="xen")} > {"menu.lst", "pygrub"}


def test_without_a_sidecar_a_kernel_that_cannot_boot_there(artifact: Built) -> None:
    image = artifact(kernel="hello-pvh.xen")
    image.sidecar.unlink()
    assert "the kernel cannot boot on ebs: it has no entry for PV" in told(image, target="ebs")


def test_without_a_sidecar_no_kernel_at_all(artifact: Built) -> None:
    image = artifact()
    image.write("/boot/hello.xen", b"no kernel")
    image.sidecar.unlink()
    assert "what /boot/grub/grub.cfg boots is no kernel" in told(image, target="xen")


def test_without_a_sidecar_only_a_grub_cfg(artifact: Built) -> None:
    image = artifact()
    image.remove(MENU)
    image.sidecar.unlink()
    skipped = [
        check.name for check in verify(image.main, target="xen", guestfs=True) if check.verdict == "skipped"
    ]
    assert skipped == ["digest", "menu.lst", "Linux"]


def test_without_a_sidecar_a_file_system_that_we_do_not_make(tmp_path: Path) -> None:
    image = tmp_path / "other.raw"
    image.write_bytes(bytes(MIB))
    run("mkfs.minix", image)
    with pytest.raises(VerificationError, match="pygrub finds no kernel"):
        list(verify(image, target="xen"))
    with pytest.raises(VerificationError, match=r"the image has no /boot/grub/menu\.lst"):
        list(verify(image, target="ebs"))


def test_neither_sidecar_nor_target(artifact: Built) -> None:
    image = artifact()
    image.sidecar.unlink()
    with pytest.raises(UsageError, match="has no sidecar beside it"):
        list(verify(image.main))
    with pytest.raises(UsageError, match="no target is named 'nowhere'"):
        list(verify(image.main, target="nowhere"))


def test_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        list(verify(tmp_path / "none.raw"))
    with pytest.raises(UsageError, match="is no file"):
        list(verify(tmp_path, target="xen"))


def flip(image: Lie, kernel: Path) -> int:
    """Flip a bit of the kernel, on the disk, without a word to the sidecar; return at which byte."""
    data = bytearray(image.main.read_bytes()[: 8 * MIB])
    at = data.index(kernel.read_bytes()[:1024]) + 500
    with image.main.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
    return at
