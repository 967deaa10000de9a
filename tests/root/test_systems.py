"""Trees of operating systems: what they boot is found, their own menus give way, layers are applied."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from imagekit.command import run
from imagekit.errors import RecipeError
from imagekit.executor import SourceInput
from imagekit.root import Boot, read_boot, write_boot, write_kernel, write_root
from tests.cli.conftest import Cli, cli
from tests.root.conftest import EPOCH, Compose, contents, entry, members

__all__ = ["cli"]

ITEM = {"input": "tree", "to": "/"}


def tarred(*infos: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """Return a tar of members: headers, or names with their content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in infos:
            info, data = (tarfile.TarInfo(one[0]), one[1]) if isinstance(one, tuple) else (one, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def found(source: Path, kernel: str | None = None) -> tuple[Boot, bytes]:
    """Return what a tree boots, and the kernel that is taken from it."""
    out, taken = source.with_name("boot.out"), source.with_name("kernel.out")
    write_boot({"tree": SourceInput(source)}, out, {"kernel": kernel, "tree": ITEM, "epoch": EPOCH})
    write_kernel({"boot": SourceInput(out)}, taken, {})
    return read_boot(out), taken.read_bytes()


def link(name: str, target: str) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, linkname=target)


@pytest.mark.parametrize(
    "names,kernel,ramdisk",
    [
        (["vmlinuz-6.9", "vmlinuz-6.10", "initrd.img-6.9", "initrd.img-6.10"], "vmlinuz-6.10", "initrd.img-6.10"),
        (["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-18-amd64"], "vmlinuz-6.1.0-18-amd64", None),
        (["vmlinuz-virt", "initramfs-virt", "config-virt"], "vmlinuz-virt", "initramfs-virt"),
        (["vmlinuz-5.14.el9", "initramfs-5.14.el9.img", "initramfs-5.14.el9kdump.img"], "vmlinuz-5.14.el9",
         "initramfs-5.14.el9.img"),
        (["vmlinuz", "initrd.img"], "vmlinuz", "initrd.img"),
        (["vmlinux-5", "a.xen"], "vmlinux-5", None),
        (["a.xen"], "a.xen", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [lambda data: data, gzip.compress, zstandard.compress])
def test_the_newest_kernel(
    names: list[str],
    kernel: str,
    ramdisk: str | None,
    packed: Callable[[bytes], bytes],
    tmp_path: Path,
) -> None:
    (tmp_path / "system.tar").write_bytes(packed(tarred(*((f"./boot/{name}", name.encode()) for name in names))))
    boot, data = found(tmp_path / "system.tar")
    assert boot == Boot(f"/boot/{kernel}", ramdisk and f"/boot/{ramdisk}")
    assert data == kernel.encode()


def test_a_folder_has_one(tmp_path: Path) -> None:
    (tmp_path / "tree" / "boot").mkdir(parents=True)
    (tmp_path / "tree" / "boot" / "vmlinuz-6").write_bytes(b"kernel")
    assert found(tmp_path / "tree") == (Boot("/boot/vmlinuz-6", None), b"kernel")


def test_a_kernel_that_is_a_hard_link(tmp_path: Path) -> None:
    hard = entry("boot/vmlinuz-6", tarfile.LNKTYPE, linkname="usr/lib/kernel")
    (tmp_path / "system.tar").write_bytes(tarred(("usr/lib/kernel", b"kernel"), hard))
    assert found(tmp_path / "system.tar") == (Boot("/boot/vmlinuz-6", None), b"kernel")
    (tmp_path / "tree" / "boot").mkdir(parents=True)
    (tmp_path / "tree" / "a").write_bytes(b"kernel")
    (tmp_path / "tree" / "boot" / "vmlinuz-6").hardlink_to(tmp_path / "tree" / "a")
    assert found(tmp_path / "tree") == (Boot("/boot/vmlinuz-6", None), b"kernel")


def test_one_that_is_named_and_links(tmp_path: Path) -> None:
    data = tarred(
        ("boot/vmlinuz-6.9", b"old"), ("boot/vmlinuz-6.10", b"new"), link("boot/initrd.img-6.9", "../lib/i"),
        ("lib/i", b"initrd"), link("vmlinuz", "/boot/vmlinuz-6.9"), link("loop", "/loop"), link("up", "../../x"),
    )  # fmt: skip
    (tmp_path / "system.tar").write_bytes(data)
    for name in ("/vmlinuz", "/boot/vmlinuz-6.9"):
        assert found(tmp_path / "system.tar", name) == (Boot("/boot/vmlinuz-6.9", "/lib/i"), b"old")
    for name in ("/loop", "/up", "/boot", "/none"):
        with pytest.raises(RecipeError, match="has no file"):
            found(tmp_path / "system.tar", name)


def test_none(tmp_path: Path) -> None:
    (tmp_path / "system.tar").write_bytes(tarred(("etc/passwd", b""), link("boot/vmlinuz-6", "nowhere")))
    with pytest.raises(RecipeError, match="has no kernel in /boot"):
        found(tmp_path / "system.tar")


def test_the_menus_of_a_system_give_way(tmp_path: Path) -> None:
    data = tarred(
        ("boot/vmlinuz-6", b"kernel"), ("boot/grub/menu.lst", b"theirs"), ("boot/grub2/grub.cfg", b"theirs"),
        entry("boot/other", tarfile.LNKTYPE, linkname="boot/grub2/grub.cfg"),
    )  # fmt: skip
    (tmp_path / "system.tar").write_bytes(data)
    options = {
        "kernel": None,
        "files": {"/boot/grub/menu.lst": "ours"},
        "trees": [{"input": "files-from", "to": "/", "base": "yes"}],
        "epoch": EPOCH,
    }
    write_root({"files-from": SourceInput(tmp_path / "system.tar")}, tmp_path / "root", options)
    assert contents(tmp_path / "root") == {
        "boot/grub/menu.lst": b"ours", "boot/vmlinuz-6": b"kernel", "boot/other": b"theirs",
    }  # fmt: skip


def layout(folder: Path, *layers: bytes, **changes: object) -> Path:
    """Write an OCI image layout of these layers, or add such an image to one.

    `changes` are of the manifest's descriptor, but for `machine`, which is the image's config.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(data: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(data)}

    config = blob(json.dumps(changes.pop("machine", {})).encode(), "config.v1+json")
    described = [blob(gzip.compress(data), "layer.v1.tar+gzip") for data in layers]
    manifest = {
        "schemaVersion": 2,
        "config": config,
        "layers": described,
    }
    one = {**blob(json.dumps(manifest).encode(), "manifest.v1+json"), **changes}
    index = folder / "index.json"
    others = json.loads(index.read_text())["manifests"] if index.exists() else []
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*others, one]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def test_layers(tmp_path: Path, compose: Compose) -> None:
    below = tarred(
        ("boot/vmlinuz-6", b"kernel"), ("etc/a", b"a"), ("etc/b", b"b"), ("srv/x/one", b"1"), ("var/f", b"f"),
        entry("opt", tarfile.DIRTYPE), ("opt/kept", b""),
    )  # fmt: skip
    above = tarred(
        ("etc/.wh.a", b""), ("etc/c", b"c"), ("srv/x/two", b"2"), ("srv/x/.wh..wh..opq", b""), (".wh.opt", b""),
        ("var/f/below", b"now a folder"),
    )  # fmt: skip
    folder = layout(tmp_path / "oci", below, above, platform={"os": "linux", "architecture": "amd64"})
    made = contents(compose(folder))
    assert made == {
        "boot/vmlinuz-6": b"kernel", "etc/b": b"b", "etc/c": b"c", "srv/x/two": b"2",
        "var/f/below": b"now a folder",
    }  # fmt: skip
    assert "opt" not in members(compose(folder))
    assert found(folder)[0] == Boot("/boot/vmlinuz-6", None)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"platform": {"os": "linux", "architecture": "arm64"}}, "no image for linux/amd64"),
        ({"digest": "sha256:" + "0" * 64}, "not whole"),
        ({"digest": "sha512:" + "0" * 128}, "a digest that is not read"),
        ({"digest": "sha256:../../../../etc/passwd"}, "a digest that is not read"),
        ({"digest": 3}, "no OCI image layout"),
        ({"size": 1}, "not what its digest says"),
    ],
)
def test_layouts_that_lie(changes: Mapping[str, object], words: str, tmp_path: Path, compose: Compose) -> None:
    folder = layout(tmp_path / "oci", tarred(("a", b"")), **changes)
    with pytest.raises(RecipeError, match=words):
        compose(folder)


@pytest.mark.parametrize("changes", [{}, {"platform": {"os": "linux", "architecture": "amd64"}}])
def test_an_image_of_another_machine(changes: Mapping[str, object], tmp_path: Path, compose: Compose) -> None:
    machine = {"os": "linux", "architecture": "arm64"}
    folder = layout(tmp_path / "oci", tarred(("a", b"")), machine=machine, **changes)
    with pytest.raises(RecipeError, match="for linux/arm64, not for linux/amd64"):
        compose(folder)


def tagged(name: str) -> dict[str, object]:
    return {"annotations": {"org.opencontainers.image.ref.name": name}}


def test_one_of_several_by_its_tag(tmp_path: Path, cli: Cli, kernels: Path) -> None:
    kernel = ("boot/vmlinuz-6", (kernels / "hello.xen").read_bytes())
    for name in ("one", "two"):
        layout(tmp_path / "oci", tarred(kernel, ("etc/name", name.encode())), **tagged(name))
    (tmp_path / "os.toml").write_text('[root]\nfrom = "oci"\n')
    said = cli("build", "os.toml", "-o", "a.raw")
    assert (said.code, "several images" in said.err) == (2, True), said.err
    assert "there: one, two" in said.err
    assert 'root.tag = "one"' in said.err
    assert cli("build", "os.toml", "--set", "root.tag=two", "-q", "-o", "a.raw").code == 0
    assert run("debugfs", "-R", "cat /etc/name", tmp_path / "a.raw").text() == "two"
    said = cli("build", "os.toml", "--set", "root.tag=three", "-o", "a.raw")
    assert (said.code, "has no image three" in said.err) == (2, True), said.err
    said = cli("build", "os.toml", "--set", "root.from=oci:one", "-o", "a.raw")
    assert (said.code, 'root.tag = "one"' in said.err) == (2, True), said.err
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    said = cli("build", "os.toml", "--set", "root.from=plain", "--set", "root.tag=one")
    assert (said.code, "is a folder, and has no tags" in said.err) == (2, True), said.err


@pytest.mark.parametrize(
    "names,words",
    [
        ((), "is an empty folder"),
        (("index.json", "blobs/sha256/0"), "without its file oci-layout"),
        (("manifest.json", "version"), "docker-archive: and dir:"),
    ],
)
def test_folders_that_are_no_system(names: tuple[str, ...], words: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "own").mkdir()
    for name in names:
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).touch()
    (tmp_path / "os.toml").write_text('kernel = "app.xen"\n[root]\nfrom = "own"\n')
    (tmp_path / "app.xen").write_bytes(b"never read")
    said = cli("build", "os.toml")
    assert (said.code, words in said.err) == (2, True), said.err


@pytest.mark.parametrize(
    "name,data,words",
    [
        ("b.toml", b"kernel = 3", "imagekit build b.toml"),
        ("hello.xen", b"\x7fELF", 'kernel = "hello.xen"'),
        ("text", b"hello", "a system is a tar, an OCI image layout or a folder"),
        ("x.tar", tarred(("oci-layout", b"{}"), ("index.json", b"{}")), "skopeo copy oci-archive:"),
    ],
)
def test_files_that_are_no_system(name: str, data: bytes, words: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "{name}"\n')
    said = cli("build", "os.toml")
    assert (said.code, words in said.err) == (2, True), said.err


def test_a_tar_by_any_name(tmp_path: Path, cli: Cli, kernels: Path) -> None:
    (tmp_path / "own").write_bytes(tarred(("boot/vmlinuz", (kernels / "hello.xen").read_bytes())))
    (tmp_path / "os.toml").write_text('[root]\nfrom = "own"\n')
    assert cli("build", "os.toml", "-q").code == 0


@pytest.mark.parametrize(
    "name,words",
    [
        ("docker://debian:12", "skopeo copy"),
        ("disk-image-builder", 'did you mean root.from = "diskimage-builder"?'),
    ],
)
def test_systems_by_the_words_of_others(name: str, words: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "{name}"\n')
    said = cli("build", "os.toml")
    assert (said.code, words in said.err) == (2, True), said.err


def test_a_damaged_layer(tmp_path: Path, compose: Compose) -> None:
    folder = layout(tmp_path / "oci", tarred(("a", b"a")))
    for path in (folder / "blobs" / "sha256").iterdir():
        if path.read_bytes().startswith(b"\x1f\x8b"):
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecipeError, match="not what its digest says"):
        compose(folder)


@pytest.mark.parametrize("index", [b"", b"[]", b'{"manifests": 3}', b'{"manifests": []}', b"{" * 9, b"[" * 99999])
def test_indexes_that_are_none(index: bytes, tmp_path: Path, compose: Compose) -> None:
    folder = layout(tmp_path / "oci")
    (folder / "index.json").write_bytes(index)
    with pytest.raises(RecipeError, match=r"OCI image layout|no image for"):
        compose(folder)
