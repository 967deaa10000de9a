"""A matrix: which images it makes, how they are named, what is gathered in one, and what is refused."""

import tomllib
from itertools import product
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import RecipeError, UsageError
from imagekit.recipe import MIB, Image, read, schema


def written(folder: Path, text: str) -> Path:
    path = folder / "farm.toml"
    path.write_text(text)
    return path


def images(folder: Path, text: str, **set_: object) -> list[Image]:
    path = written(folder, text)
    jsonschema.validate(tomllib.loads(text), schema())
    return list(read(path, set_, {}))


FOUR = """
[matrix]
kernel = ["a.xen", "sub/b.xen.gz"]
disk.layout = ["plain", "mbr"]
"""


def test_every_combination(tmp_path: Path) -> None:
    found = images(tmp_path, FOUR + "[filesystem]\ntype = 'ext4'\n")
    assert [(one.name, one.kernel, one.disk.layout) for one in found] == [
        ("farm-a-plain", tmp_path / "a.xen", "plain"),
        ("farm-a-mbr", tmp_path / "a.xen", "mbr"),
        ("farm-b-plain", tmp_path / "sub/b.xen.gz", "plain"),
        ("farm-b-mbr", tmp_path / "sub/b.xen.gz", "mbr"),
    ]
    assert {one.filesystem.type for one in found} == {"ext4"}
    assert {one.matrix for one in found} == {None}


def test_names(tmp_path: Path) -> None:
    def names(text: str) -> list[str | None]:
        return [one.name for one in images(tmp_path, text)]

    assert names('name = "x"\n' + FOUR)[0] == "x-a-plain"
    assert names('name = "{kernel}.{disk.layout}"\n' + FOUR)[-1] == "b.mbr"
    assert names('name = "{kernel}"\n[matrix]\nkernel = ["one.xen", "two.xen"]') == ["one", "two"]
    odd = 'cmdline = ["", "--ipv4=10.0.0.2/24 a very long line", "-q"]\nmemory = ["64MiB", 134217728]'
    assert names(f'kernel = "a"\n[matrix]\n{odd}') == [
        f"farm-{first}-{second}" for first, second in product(("1", "2", "q"), ("64MiB", "134217728"))
    ]
    assert names('kernel = "a"\n[matrix]\nname = ["one", "two"]') == ["one", "two"]


def test_targets_and_regions_are_gathered(tmp_path: Path) -> None:
    (one,) = images(
        tmp_path,
        'kernel = "a"\n[matrix]\ntargets = ["xen", "ebs"]\n'
        'publish.ebs.regions = ["eu-west-1", "us-east-1"]\npublish.openstack.regions = ["X"]\n',
    )
    assert (one.name, one.targets) == ("farm", ("xen", "ebs"))
    assert one.publish.ebs.regions == ("eu-west-1", "us-east-1")


def test_what_is_left_out(tmp_path: Path) -> None:
    found = images(
        tmp_path,
        '[matrix]\nkernel = ["a", "b"]\nmemory = ["32MiB", "64MiB"]\ntargets = ["xen", "ebs"]\n'
        'publish.ebs.regions = ["eu-west-1", "us-east-1"]\n'
        'exclude = [{ kernel = "a", memory = "64MiB" }, { kernel = "b", targets = "ebs" },\n'
        '  { kernel = "a", publish.ebs.regions = "us-east-1" }]\n',
    )
    assert [(one.name, one.targets, one.publish.ebs.regions) for one in found] == [
        ("farm-a-32MiB", ("xen", "ebs"), ("eu-west-1",)),
        ("farm-b-32MiB", ("xen",), ()),
        ("farm-b-64MiB", ("xen",), ()),
    ]


def test_a_region_that_is_left_out_for_its_target_alone(tmp_path: Path) -> None:
    (one,) = images(
        tmp_path,
        'kernel = "a"\n[matrix]\ntargets = ["xen", "ebs"]\npublish.ebs.regions = ["eu-west-1", "us-east-1"]\n'
        'exclude = [{ targets = "ebs", publish.ebs.regions = "us-east-1" }]\n',
    )
    assert (one.targets, one.publish.ebs.regions) == (("xen", "ebs"), ("eu-west-1",))


def test_the_command_line_stands_in_place_of_an_axis(tmp_path: Path) -> None:
    found = images(tmp_path, FOUR, **{"disk.layout": "gpt"})
    assert [(one.name, one.disk.layout) for one in found] == [("farm-a", "gpt"), ("farm-b", "gpt")]


def test_with_image_tables(tmp_path: Path) -> None:
    """A matrix at the top holds for every image, and one of an image's own is put over it."""
    found = images(
        tmp_path,
        '[matrix]\nmemory = ["32MiB", "64MiB"]\n[[image]]\nname = "one"\nkernel = "a"\n'
        '[[image]]\nname = "two"\nkernel = "a"\n[image.matrix]\nmemory = ["128MiB"]\nvcpus = [1, 2]\n',
    )
    assert [(one.name, one.memory // MIB, one.vcpus) for one in found] == [
        ("one-32MiB", 32, 1),
        ("one-64MiB", 64, 1),
        ("two-128MiB-1", 128, 1),
        ("two-128MiB-2", 128, 2),
    ]


@pytest.mark.parametrize(
    "matrix, words",
    [
        ('kernal = ["a"]', "matrix.kernal: no such key (did you mean kernel?)"),
        ('disk.layuot = ["mbr"]', "matrix.disk.layuot: no such key (did you mean disk.layout?)"),
        ('memory.x = ["1MiB"]', "matrix.memory.x: no such key (memory is no table)"),
        ('matrix.kernel = ["a"]', "matrix.matrix.kernel: no such key"),
        ("memory = []", "matrix.memory: a list of values is expected"),
        ('memory = "64MiB"', "matrix.memory: a list of values is expected"),
        ("vcpus = [1, 1]", "matrix.vcpus: a value is there twice"),
        ("vcpus = [1]\nexclude = [{ vcpus = 2 }]", "matrix.exclude: 2 is no value of vcpus"),
        ("vcpus = [1]\nexclude = [{ vcpu = 1 }]", "matrix.exclude: vcpu is no axis"),
        ("vcpus = [1]\nexclude = [{ vcpus = 1 }]", "matrix: all is excluded"),
        ("vcpus = [1]\nexclude = [{}]", "matrix.exclude: tables are expected"),
        ("vcpus = [1]\nexclude = 3", "exclude"),
        ("vcpus = [1, 0]", "vcpus: input should be greater than or equal to 1"),
        ('disk.layout = ["mbr", "mrb"]', "disk.layout: input should be 'auto', 'plain', 'mbr' or 'gpt'"),
        ('cmdline = ["a b", "a-b"]', "two images are named 'farm-a-b'"),
        (f"vcpus = {list(range(1, 102))}\nmemory = {[f'{one}MiB' for one in range(1, 102)]}", "10201 images"),
    ],
)
def test_what_is_refused(tmp_path: Path, matrix: str, words: str) -> None:
    path = written(tmp_path, f'kernel = "a"\n[matrix]\n{matrix}\n')
    with pytest.raises((RecipeError, UsageError)) as caught:
        read(path, {}, {})
    assert words in caught.value.brief
    assert str(path) in caught.value.brief


@pytest.mark.parametrize(
    "text, words",
    [
        ('name = "{memory}"\nkernel = "a"', "takes the values of a matrix"),
        ('name = "{memory}"\nkernel = "a"\n[matrix]\nvcpus = [1]', "{memory} is no axis"),
        ('kernel = "a"\nmatrix = 3', "matrix: "),
        ('kernel = "a"\ndisk = 3\n[matrix]\ndisk.layout = ["mbr"]', "disk"),
    ],
)
def test_what_is_refused_around_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(written(tmp_path, text), {}, {})
    assert words in caught.value.brief


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    out=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=3),
)
def test_as_many_as_the_product_without_what_is_excluded(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], out: list[tuple[int, int]]
) -> None:
    keys = ("vcpus", "memory", "prove.timeout")[: len(counts)]
    units = {"memory": 4 * MIB}
    axes = {
        key: [one * units.get(key, 1) for one in range(1, count + 1)]
        for key, count in zip(keys, counts, strict=True)
    }
    excluded = [(a, b) for a, b in out if len(counts) > 1 and a <= counts[0] and b <= counts[1]]
    text = 'kernel = "a"\n[matrix]\n' + "".join(f"{key} = {values}\n" for key, values in axes.items())
    text += f"exclude = [{', '.join(f'{{ vcpus = {a}, memory = {b * 4 * MIB} }}' for a, b in excluded)}]\n"
    expected = [
        cell
        for cell in product(*axes.values())
        if (cell[0], cell[1] // (4 * MIB) if len(cell) > 1 else 0) not in excluded
    ]
    path = written(tmp_path_factory.mktemp("matrix"), text)
    if not expected:
        with pytest.raises(RecipeError, match="all is excluded"):
            read(path, {}, {})
        return
    found = read(path, {}, {})
    assert [(one.vcpus, one.memory, one.prove.timeout)[: len(counts)] for one in found] == expected
    assert len({one.name for one in found}) == len(found)
