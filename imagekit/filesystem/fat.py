"""FAT16 and FAT32 by mkfs.fat and mtools. No links, owners or device nodes; one mode and one time for all."""

import re
from collections.abc import Iterable
from pathlib import Path

from imagekit.command import run
from imagekit.errors import BuildError, RecipeError, ToolError
from imagekit.filesystem.settings import Place, Settings
from imagekit.filesystem.staging import Staged
from imagekit.root import Member

_SECTOR = 512
_1980 = 315532800  # FAT's first second
_LONGEST = (1 << 32) - 1
_HINT = 'filesystem.type = "ext2" holds everything'
# What mtools writes letter by letter: it changes others, or their case, to what an old code page has, and "~" is
# what the short names have that it makes up.
_NAME = re.compile(r"(?! )[ !#-)+-.0-9;=@-\[\]-{}]*[!#-)+,0-9;=@-\[\]-{}-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|clock\$|(com|lpt)[0-9])(\..*)?", re.IGNORECASE)
_CHUNK = 200  # files a mcopy: short of any limit on a command line


def make(place: Place, settings: Settings, staged: Staged) -> None:
    """Make and fill the file system; see `imagekit.filesystem.make`."""
    _check(staged.members())
    _mkfs(place, settings, _root_entries(staged.members()))
    _fill(place, settings, staged)


def _root_entries(members: Iterable[Member]) -> int:
    """Return how many entries FAT16's root, which cannot grow, must have room for; long names take several."""
    entries = sum(2 + len(member.path) // 13 for member in members if "/" not in member.path)
    return max(512, -(-entries // 16) * 16)


def _mkfs(place: Place, settings: Settings, root_entries: int) -> None:
    cluster = settings.block_size or (4096 if settings.type == "fat32" else 2048)
    root = ("-r", str(root_entries)) if settings.type == "fat16" else ()
    try:
        run(
            "mkfs.fat", "--invariant", "-F", settings.type.removeprefix("fat"), "-S", str(_SECTOR),
            "-s", str(cluster // _SECTOR), "-i", settings.uuid[:8], "-n", settings.label.upper() or "NO NAME",
            *root, "--offset", str(place.offset // _SECTOR), place.disk, str(place.size // 1024),
        )  # fmt: skip
    except ToolError as error:
        raise BuildError(
            f"no {settings.type} of {place.size >> 20} MiB can be made",
            details=error.details,
            hint="FAT16 takes 8 to 127 MiB with clusters of 2 KiB, FAT32 257 MiB and more with 4 KiB",
        ) from error


def _fill(place: Place, settings: Settings, staged: Staged) -> None:
    image = f"{place.disk}@@{place.offset}"
    for member in _sorted(staged, "dir"):
        run("mmd", "-i", image, f"::/{member.path}", env=_environment(settings))
    for folder, sources in _by_folder(staged):
        for at in range(0, len(sources), _CHUNK):
            try:
                run(
                    "mcopy", "-Q", "-i", image, *sources[at : at + _CHUNK], f"::/{folder}",
                    env=_environment(settings),
                )  # fmt: skip
            except ToolError as error:
                if "full" in error.details.lower():
                    raise BuildError(
                        f"the tree does not fit into a file system of {place.size >> 20} MiB",
                        details=error.details.splitlines()[-1],
                        hint='leave filesystem.size at "auto", or give it more',
                    ) from error
                raise


def _by_folder(staged: Staged) -> list[tuple[str, list[Path]]]:
    folders: dict[str, list[Path]] = {}
    for member in _sorted(staged, "file", "hard"):
        path = staged.folder / member.path
        source = staged.sources.get(member.target if member.kind == "hard" else member.path)
        if source is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(source)  # mcopy names a file as its source is named
        folders.setdefault(member.path.rpartition("/")[0], []).append(path)
    return sorted(folders.items())


def _sorted(staged: Staged, *kinds: str) -> list[Member]:
    return sorted((member for member in staged.members() if member.kind in kinds), key=lambda member: member.path)


def _environment(settings: Settings) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(max(settings.epoch, _1980)), "MTOOLS_SKIP_CHECK": "1"}


def _check(members: Iterable[Member]) -> None:
    names: dict[str, str] = {}
    for member in members:
        if member.kind not in {"dir", "file", "hard"}:
            raise RecipeError(f"FAT holds no {member.kind}: /{member.path}", hint=_HINT)
        name = member.path.rpartition("/")[2]
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            raise RecipeError(f"FAT, as mtools writes it, cannot hold the name {member.path!r}", hint=_HINT)
        twin = names.setdefault(member.path.lower(), member.path)
        if twin != member.path:
            raise RecipeError(f"for FAT /{twin} and /{member.path} are one name", hint=_HINT)
        if member.size > _LONGEST:
            raise RecipeError(f"FAT holds no file of 4 GiB or more: /{member.path}", hint=_HINT)
