"""What libguestfs needs set, and the sockets that a killed one leaves. Sessions are in tests/filesystem."""

import socket
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from imagekit.appliance import environment, is_dead, options, swept
from imagekit.errors import InterruptedByUser


def test_the_format_is_said(tmp_path: Path) -> None:
    assert options(tmp_path / "a", write=False) == ("--ro", "--format=raw", "-a", str(tmp_path / "a"))
    assert options(tmp_path / "a", write=True) == ("--format=raw", "-a", str(tmp_path / "a"))


def test_scratch_files_lie_where_they_are_swept(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert found["LIBGUESTFS_TMPDIR"] == str(tmp_path)
    assert "LIBGUESTFS_CACHEDIR" not in found  # the appliance is everyone's
    assert found.get("LIBGUESTFS_BACKEND_SETTINGS") in {None, "force_tcg"}


def sockets() -> tuple[Path, socket.socket]:
    """Return a folder as libguestfs makes one, and its socket."""
    folder = Path(f"/tmp/libguestfs{token_hex(3)}")  # noqa: S108 -- libguestfs' choice
    folder.mkdir()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "guestfsd.sock"))
    return folder, listening


def test_dead_sockets_are_swept_and_living_ones_are_not() -> None:
    dead, socket_of_dead = sockets()
    living, socket_of_living = sockets()
    socket_of_dead.close()
    with socket_of_living:
        assert not is_dead(living, Path("/proc/net/unix").read_bytes())
        with swept():
            assert not dead.exists()
            assert living.exists()
    with suppress(InterruptedByUser), swept():
        assert not living.exists()
        later, socket_of_later = sockets()
        socket_of_later.close()
        raise InterruptedByUser("Ctrl-C")
    assert not later.exists()
