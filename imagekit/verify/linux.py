"""The image through a real Linux kernel, mounted read-only in libguestfs' own small machine.

By guestfish, since Debian's Python binding is only for Debian's own Python. The machine is always emulated: a
/dev/kvm that is there and hangs would take more than the half minute that this costs.
"""

import hashlib
from collections.abc import Mapping

from imagekit.command import find, run
from imagekit.errors import ToolError, VerificationError
from imagekit.verify.check import Check, missing, passed
from imagekit.verify.pygrub import Taken
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.table import Spot

_EMULATED: Mapping[str, str] = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
_SECONDS = 300
_READY = "launched"


def check_by_linux(room: Scratch, spot: Spot, path: str, taken: Taken) -> Check:
    """Check that Linux mounts the file system, walks all of it, and reads the kernel at `path` as pygrub did."""
    if find("guestfish") is None:
        return missing("Linux", "guestfish")
    lines = _guestfish(room, f"/dev/sda{spot.number or ''}", path)
    with taken.kernel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if lines[0] != digest:
        raise VerificationError(
            f"Linux reads another kernel at {path} than pygrub", details=f"{lines[0]}, and pygrub {digest}"
        )
    return passed("Linux", f"mounts it, reads {len(lines) - 1} files and folders, and the same kernel")


def _guestfish(room: Scratch, device: str, path: str) -> list[str]:
    """Return the SHA-256 of the file at `path`, then the names of all files."""
    # The format is said, not guessed: a hostile image could otherwise be a qcow2 that names a file of the host.
    done = run(
        "guestfish", "--ro", "--format=raw", "-a", DISK, "--",
        "run", ":", "echo", _READY, ":",
        "mount-ro", device, "/", ":", "checksum", "sha256", path, ":", "find", "/",
        cwd=room.folder, env=_EMULATED, timeout=_SECONDS, ok=range(256),
    )  # fmt: skip
    ready, *lines = done.text().splitlines() or [""]
    if ready != _READY:
        raise ToolError(
            "libguestfs could not start its machine",
            details=done.complaint(),
            hint="libguestfs-test-tool tells why; it needs a kernel in /boot that you can read",
        )
    if done.status:
        raise VerificationError("Linux cannot read the file system", details=done.complaint())
    return lines
