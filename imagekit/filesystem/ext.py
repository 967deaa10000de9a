"""ext2, ext3 and ext4 by e2fsprogs: `mke2fs -d` for what lies in the root tar, one `debugfs` batch for the rest.

What mke2fs 1.47.0 gets wrong for us, and the batch sets right: the builder's uid and gid, the ctime and atime of
the moment, device nodes (which need root in a folder) and extended attributes. Files that the tar only refers to
are written by the same batch, straight from the user's folder: read once, written once.
"""

from importlib.resources import as_file, files

from imagekit.command import run
from imagekit.errors import BuildError, ImagekitError, RecipeError, ToolError
from imagekit.filesystem.batch import batch
from imagekit.filesystem.settings import Place, Settings
from imagekit.filesystem.size import inodes
from imagekit.filesystem.staging import Staged

# The features are ours, not those of the machine's mke2fs.conf: no metadata_csum and no 64bit, which GRUB 0.97
# (Amazon's PV-GRUB) cannot read; no resize_inode, which costs a small image a tenth of its size.
_EXT2 = "none,ext_attr,dir_index,filetype,sparse_super,large_file"
FEATURES = {
    "ext2": _EXT2,
    "ext3": f"{_EXT2},has_journal",
    "ext4": f"{_EXT2},has_journal,extent,flex_bg,extra_isize,dir_nlink,huge_file",
}
_NO_ROOM_BESIDE = "Insufficient space to store extended attribute"
_TOO_SMALL = ("Could not allocate", "too small", "ran out of")


def make(place: Place, settings: Settings, staged: Staged) -> None:
    """Make and fill the file system; see `imagekit.filesystem.make`."""
    for member in staged.members():
        if member.path == "lost+found" and member.kind != "dir":
            raise RecipeError("/lost+found is a folder in every ext file system", details=f"here a {member.kind}")
    commands = batch(staged, settings.epoch)
    _mke2fs(place, settings, staged)
    _debugfs(place, settings.epoch, commands)


def _mke2fs(place: Place, settings: Settings, staged: Staged) -> None:
    entries = len(staged.inside) + len(staged.outside)
    with as_file(files("imagekit.filesystem") / "mke2fs.conf") as config:
        try:
            run(
                "mke2fs", "-q", "-F", "-t", settings.type, "-O", FEATURES[settings.type],
                "-b", str(settings.block_size), "-I", "256", "-N", str(inodes(entries, place.size)),
                "-m", "0", "-U", settings.uuid, "-L", settings.label, "-d", staged.folder,
                "-E", f"offset={place.offset},hash_seed={settings.uuid},no_copy_xattrs,root_owner=0:0",
                place.disk, f"{place.size // 1024}k",
                env={"E2FSPROGS_FAKE_TIME": str(settings.epoch), "MKE2FS_CONFIG": str(config)},
            )  # fmt: skip
        except ToolError as error:
            raise _explained(error, place.size) from error


def _debugfs(place: Place, epoch: int, commands: bytes) -> None:
    script = place.disk.with_name("batch")
    script.write_bytes(commands)
    done = run(
        "debugfs", "-w", "-f", script, f"{place.disk.name}?offset={place.offset}",
        cwd=place.disk.parent, env={"E2FSPROGS_FAKE_TIME": str(epoch)}, silent=True,  # it repeats each command
    )  # fmt: skip
    # It ends with status 0 whatever happens; all that it says on stderr, but its version, is a complaint.
    complaints = [line for line in done.stderr.decode(errors="replace").splitlines()[1:] if line.strip()]
    if complaints:
        raise _explained(ToolError("debugfs failed", details="\n".join(complaints[:10])), place.size)


def _explained(error: ToolError, size: int) -> ImagekitError:
    if any(words in error.details for words in _TOO_SMALL):
        return BuildError(
            f"the tree does not fit into a file system of {size >> 20} MiB",
            details=error.details.splitlines()[-1],
            hint='leave filesystem.size at "auto", or give it more',
        )
    if _NO_ROOM_BESIDE in error.details:
        return RecipeError(
            "a file's extended attributes are larger than a block",
            details=error.details,
            hint="filesystem.block_size = 4096 holds more",
        )
    return error
