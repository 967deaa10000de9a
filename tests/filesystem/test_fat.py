"""What is put into FAT16 and FAT32 is what mtools reads there, and what they cannot hold is refused."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import BuildError, RecipeError, ToolError
from imagekit.filesystem import Place, Settings, filesystem_uuid, make, stage
from imagekit.filesystem.staging import Staged
from imagekit.root import Member
from imagekit.root.tree import first_entry
from tests.filesystem.conftest import Fill, entry

Contents = Callable[[Path], dict[str, object]]
DATA = bytes(range(256)) * 300


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for path, data in {
        "empty": b"",
        "one": b"1",
        "large": DATA,
        "deep/er/and/deeper/file": b"below",
        "name with  spaces": b"a",
        "apo'strophe": b"c",
        "-leading-dash": b"e",
        "A long Name of mixed Case.Html": b"f",
        "x" * 255: b"g",
        "longfilename.txt": b"i",
        "longfilename-too.txt": b"j",
        ".hidden": b"k",
        "+,;=[]": b"l",
        "console": b"m",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "hollow").mkdir()
    return folder


@pytest.mark.parametrize("block_size", [0, 1024, 2048, 4096])
@pytest.mark.parametrize("kind", ["fat16", "fat32"])
def test_a_folder_is_read_back_byte_for_byte(
    kind: str, block_size: int, tree: Path, fill: Fill, content: Contents
) -> None:
    image = fill(tree, kind=kind, block_size=block_size, label="My_label")
    image.check(kind)
    assert content(image.mcopied()) == content(tree)
    report = run("minfo", "-i", image.path, "::").text()
    assert f"cluster size: {(block_size or (4096 if kind == 'fat32' else 2048)) // 512} sectors" in report
    assert f'disk type="{kind.upper()}   "' in report
    assert 'disk label="MY_LABEL   "' in report


def test_files_of_a_tar_and_hard_links_become_copies(
    tree: Path, fill: Fill, pack: Callable[..., Path], content: Contents
) -> None:
    os.link(tree / "large", tree / "deep" / "twin")
    tar = pack(
        (entry("etc/conf", uid=5, mode=0o600), b"text"),
        (entry("etc/twin", tarfile.LNKTYPE, linkname="etc/conf"), b""),
    )
    image = fill(tree, tar, kind="fat16")
    image.check("fat16")
    expected = {**content(tree), "etc": None, "etc/conf": b"text", "etc/twin": b"text"}
    assert content(image.mcopied()) == expected


def test_the_root_has_room_for_every_file(tmp_path: Path, fill: Fill, content: Contents) -> None:
    tree = tmp_path / "wide"
    tree.mkdir()
    for number in range(200):
        (tree / f"a file with a rather long name of its own, number {number}").write_bytes(b"%d" % number)
    image = fill(tree, kind="fat16")
    image.check("fat16")
    assert content(image.mcopied()) == content(tree)


@pytest.mark.parametrize("epoch", [1, 946684800, 2**32 - 1])
def test_one_time_for_all_and_equal_bytes(epoch: int, tree: Path, fill: Fill) -> None:
    os.utime(tree / "one", (0, 0))
    image = fill(tree, kind="fat16", epoch=epoch)
    image.check("fat16")
    # FAT begins in 1980.
    listed = {1: "1980-01-01   0:00", 946684800: "2000-01-01   0:00", 2**32 - 1: "2106-02-07   6:28"}[epoch]
    lines = run("mdir", "-a", "-i", image.path, "::").text().splitlines()
    assert sum(listed in line for line in lines) == len(list(tree.iterdir()))
    assert image.path.read_bytes() == fill(tree, kind="fat16", epoch=epoch).path.read_bytes()


@pytest.mark.parametrize(
    "info, complaint",
    [
        (entry("l", tarfile.SYMTYPE, linkname="x"), "holds no link"),
        (entry("c", tarfile.CHRTYPE), "holds no char"),
        (entry("p", tarfile.FIFOTYPE), "holds no fifo"),
        *(
            (entry(name), "cannot hold the name")
            for name in (
                "a:b",
                "a?",
                "x\\y",
                "dot.",
                "space ",
                " space",
                "longfi~1.txt",
                " space",
                "gr\u00fc\u00dfe",
                "a\nb",
                "\x7f",
                "Con",
                "aux.txt",
                "LPT1",
            )
        ),
    ],
)
def test_what_fat_cannot_hold(
    info: tarfile.TarInfo, complaint: str, fill: Fill, pack: Callable[..., Path]
) -> None:
    with pytest.raises(RecipeError, match=complaint) as caught:
        fill(pack((info, b"")), kind="fat16")
    assert "ext2" in caught.value.hint


@pytest.mark.parametrize("names", [("a", "A"), ("Dir/x", "dIR/y")])
def test_names_that_differ_in_case_alone(names: tuple[str, str], fill: Fill, pack: Callable[..., Path]) -> None:
    with pytest.raises(RecipeError, match="are one name"):
        fill(pack(*((entry(name), b"") for name in names)), kind="fat32")


def test_a_file_of_four_gib(tmp_path: Path) -> None:
    place, huge = Place(tmp_path / "disk", 0, 8 << 30), Member("huge", "file", size=4 << 30)
    with pytest.raises(RecipeError, match="4 GiB"):
        make(place, Settings("fat32", "", 1), Staged(tmp_path, outside=[huge]))


def test_no_fat16_of_half_a_gib(tree: Path, fill: Fill) -> None:
    with pytest.raises(BuildError, match="no fat16 of 512 MiB can be made") as caught:
        fill(tree, kind="fat16", disk=512 << 20)
    assert "FAT32" in caught.value.hint


def test_a_file_system_that_is_too_small_after_all(tmp_path: Path, pack: Callable[..., Path]) -> None:
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(10 << 20)
    staged = stage(
        pack((first_entry((), {}), b""), (entry("more"), os.urandom(11 << 20))), {}, tmp_path / "staged"
    )
    with pytest.raises(BuildError, match="does not fit into a file system of 10 MiB"):
        make(
            Place(tmp_path / "disk", 0, 10 << 20),
            Settings("fat16", filesystem_uuid("0" * 64, "fat16", ""), 1),
            staged,
        )


def test_a_tool_that_fails_otherwise_is_named(tmp_path: Path, pack: Callable[..., Path]) -> None:
    staged = stage(pack((first_entry((), {}), b""), (entry("more"), b"x")), {}, tmp_path / "staged")
    (tmp_path / "staged" / "more").unlink()
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(10 << 20)
    with pytest.raises(ToolError, match="mcopy failed"):
        make(
            Place(tmp_path / "disk", 0, 10 << 20),
            Settings("fat16", filesystem_uuid("0" * 64, "fat16", ""), 1),
            staged,
        )


NAMES = st.from_regex(r"[ !#-)+-.0-9;=@-\[\]-{}]{1,14}", fullmatch=True).filter(lambda name: name[-1] not in ". ")


@settings(max_examples=12)
@given(
    files=st.lists(NAMES, min_size=1, max_size=12, unique_by=str.lower).map(
        lambda names: {name: name.encode() for name in names}
    )
)
def test_any_name_that_is_taken_survives(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, fill: Fill, content: Contents
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    for name, data in files.items():
        (tree / name).write_bytes(data)
    try:
        image = fill(tree, kind="fat16")
    except RecipeError as error:
        assert "cannot hold the name" in str(error)  # noqa: PT017
        return
    image.check("fat16")
    assert content(image.mcopied()) == files
