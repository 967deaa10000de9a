"""Puts dom0 together: a PV Linux that knows xl, and either pygrub or the device model of HVM guests."""

from pathlib import Path

from imagekit.command import run
from imagekit.prove.lab.data import data
from imagekit.prove.lab.device_model import DEVICE_MODEL, leave_out_spice, take_device_model
from imagekit.prove.lab.libraries import Libraries
from imagekit.prove.lab.modules import ALWAYS, NETWORK, Modules
from imagekit.prove.lab.names import XEN
from imagekit.prove.lab.python import PYTHON, compile_ahead, take_python
from imagekit.prove.lab.tree import Tree
from imagekit.prove.lab.variants import Variant

_XEN = f"usr/lib/xen-{XEN}"
_PROGRAMS = (
    *(f"{_XEN}/bin/{name}" for name in ("xl", "xenstored", "xenconsoled", "xen-init-dom0", "libxl-save-helper")),
    *("usr/bin/xenstore-read", "usr/bin/xenstore-write"),
)
_FOLDERS = ("proc", "sys", "dev", "run", "tmp", "mnt", "lab", "root", "var/log/xen/console", "var/lib/xen")
_PYGRUB = f"{_XEN}/bin/pygrub"
_SCRIPTS = {
    "init": "init",
    "block": "etc/xen/scripts/block",
    "vif-lab": "etc/xen/scripts/vif-lab",
    "fetch": "usr/lib/lab/fetch",
}
_PYGRUB_SCRIPTS = {"pygrub": "usr/lib/lab/pygrub", "pygrub-server": "usr/lib/lab/pygrub-server"}


def dom0(unpacked: Path, version: str, loaders: Path, variant: Variant) -> Tree:
    """Return dom0's tree; `version` is the kernel's, `loaders` the folder of our GRUBs, where the lab has them."""
    compile_ahead(unpacked)
    if variant.device_model:
        leave_out_spice(unpacked)
    tree, libraries = Tree(unpacked), Libraries(unpacked)
    _programs(tree)
    take_python(tree, libraries)
    if variant.device_model:
        take_device_model(tree, unpacked)
    else:
        _pygrub(tree, loaders)
    libraries.take_for(tree, _linked(tree))
    # Named by no program: the C library loads it when a thread is cancelled.
    tree.take("lib/x86_64-linux-gnu/libgcc_s.so.1")
    _busybox(tree, unpacked)
    modules = Modules(unpacked / "lib" / "modules" / version)
    modules.take(tree, "modules.list", ALWAYS)
    modules.take(tree, "network.list", NETWORK)
    _own(tree)
    return tree


def _programs(tree: Tree) -> None:
    for name in _PROGRAMS:
        tree.take(name)
    loader = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    tree.take(loader)
    tree.link("usr/lib64/ld-linux-x86-64.so.2", f"/usr/{loader}")


def _pygrub(tree: Tree, loaders: Path) -> None:
    """Take pygrub with its readers of file systems, which it loads by name; and our GRUBs."""
    tree.take(_PYGRUB)
    tree.take("lib/terminfo/v/vt100")
    for name, place in _PYGRUB_SCRIPTS.items():
        tree.file(place, data(name), executable=True)
    for name in ("pv-grub.bin", "pvh-grub.bin"):
        tree.file(f"usr/lib/lab/{name}", (loaders / name).read_bytes())
    tree.take_all(f"{_XEN}/lib/x86_64-linux-gnu/xenfsimage", lambda name: name.endswith(".so"))


def _linked(tree: Tree) -> list[str]:
    names = [entry.name for entry in tree.entries() if entry.name.endswith(".so")]
    return [*_PROGRAMS, *(name for name in (DEVICE_MODEL,) if name in tree), PYTHON, *names]


def _busybox(tree: Tree, unpacked: Path) -> None:
    tree.take("bin/busybox")
    for name in run(str(unpacked / "bin/busybox"), "--list").text().split():
        if not any(f"usr/{folder}/{name}" in tree for folder in ("bin", "sbin")):
            tree.link(f"usr/bin/{name}", "busybox")


def _own(tree: Tree) -> None:
    tree.folder(*_FOLDERS)
    tree.link("var/run", "/run")
    tree.link("var/lock", "/run/lock")
    tree.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    tree.file("etc/group", b"root:x:0:\n")
    for name, place in _SCRIPTS.items():
        tree.file(place, data(name), executable=True)
    tree.file("etc/xen/xl.conf", data("xl.conf"))
