"""A kernel file in dom0's folder for guests, over SSH: nothing in XAPI brings one there.

xapi takes PV_kernel from that folder alone (xapi-project/xen-api, ocaml/xapi/xapi_globs.ml): /var/lib/xcp/guest,
and before 2024 /boot/guest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from posixpath import dirname, join

from imagekit.publish.ssh import transfer
from imagekit.publish.ssh.connection import connected
from imagekit.sparse import map_blocks

FOLDERS = ("/var/lib/xcp/guest", "/boot/guest")
_FIND = 'for one in "$@"; do [ -d "$one" ] && { printf %s "$one"; return; }; done; printf %s "$1"'
_PART = ".part"


def find(named: str, environment: Mapping[str, str], folder: str | None) -> str:
    """Return the folder for kernels on a host; PublishError when the host is not reached."""
    if folder is not None:
        return folder
    with connected(named, environment) as host:
        return host.checked("looking for the folder of kernels", _FIND, *FOLDERS)


def place(
    named: str, environment: Mapping[str, str], kernel: Path, target: str, go_on: Callable[[], None]
) -> None:
    """Bring a kernel there under its name, whole or not at all."""
    blocks = map_blocks(kernel)
    with connected(named, environment) as host:
        if transfer.is_there(host, kernel, blocks, target):
            return
        transfer.check_room(host, dirname(target), blocks.length)
        transfer.send(host, kernel, blocks, target + _PART, go_on)
        with host.files() as files:
            files.posix_rename(target + _PART, target)


def remove(named: str, environment: Mapping[str, str], target: str) -> None:
    """Remove a kernel, whole or not."""
    with connected(named, environment) as host:
        host.checked(f"removing {target}", 'rm -f -- "$1" "$2"', target, target + _PART)


def path_of(folder: str, image: str, digest: str) -> str:
    """Return where the kernel of an image goes: builds do not overwrite each other's."""
    return join(folder, f"{image}-{digest[:12]}.xen")
