"""A recipe that is refused is refused with file, line, key, what is wrong, and what was perhaps meant."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ImagekitError, RecipeError
from imagekit.recipe import Image, read, setting
from imagekit.recipe.locate import line_of

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Return a function that reads a text as app.toml and returns the words of the refusal, without the path."""

    def read_it(text: str | bytes, **environment: str) -> str:
        path = tmp_path / "app.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(RecipeError) as caught:
            read(path, {}, environment)
        return str(caught.value).replace(f"{path}", "app.toml")

    return read_it


@pytest.mark.parametrize(
    "text, words",
    [
        ("kernal = 1", "app.toml:1: kernal: no such key (did you mean kernel?)"),
        ("\n\n[filesytem]\ntype = 'ext2'", "app.toml:3: filesytem: no such key (did you mean filesystem?)"),
        ("[filesystem]\n# why\ntpye = 'ext2'", "app.toml:3: filesystem.tpye: no such key (did you mean type?)"),
        ("filesystem.tpye = 'x'", "app.toml:1: filesystem.tpye: no such key (did you mean type?)"),
        ("disk = { layout = 'gpt', sise = 1 }", "app.toml:1: disk.sise: no such key (did you mean size?)"),
        ("\nrot.kernel = '/x'", "app.toml:2: rot: no such key (did you mean root?)"),
        ("\n[rot.files]\nx = 1", "app.toml:2: rot: no such key (did you mean root?)"),
        ('\n"ker\\u006eal" = 1', "app.toml:2: kernal: no such key (did you mean kernel?)"),
        ("'ker nal' = 1", "app.toml:1: ker nal: no such key (did you mean kernel?)"),
        (
            "[[image]]\n[[image]]\nname = 'b'\n[image.root]\nkernl = '/k'",
            "app.toml:5: image.1.root.kernl: no such key (did you mean kernel?)",
        ),
        (
            "[root]\nfiles = [\n  { from = 'a' },\n  # one more\n  { from = 'b', too = '/' },\n]",
            "app.toml:5: root.files.1.too: no such key (did you mean to?)",
        ),
        (
            "[[image]]\n[[image.root.files]]\nfrom = 'a'\n[[image.root.files]]\nfom = 'b'",
            "app.toml:4: image.0.root.files.1.from: is missing",
        ),
        (
            "[[image]]\n[[image.vif]]\n[[image]]\n[[image.vif]]\nmtu = 1",
            "app.toml:5: image.1.vif.0.mtu: no such key",
        ),
        ("[xen]\nzzz = 1", "app.toml:2: xen.zzz: no such key (there are: kernel_path, loader)"),
        ("[[image]]\nvariables = []", "app.toml:2: image.0.variables: no such key"),
        ("\nmemory = '64MB'", "app.toml:2: memory: a size is a number of bytes"),
        ("memory = 5000000", "app.toml:1: memory: memory is given to a guest in whole MiB (is 5000000)"),
        (
            "memory = '3MiB'",
            "app.toml:1: memory: a guest takes 4 MiB at least, and a number without a unit is bytes (is '3MiB')",
        ),
        ("disk.size = -1", "app.toml:1: disk.size: input should be greater than or equal to 0"),
        ("disk.size = 1025", "app.toml:1: disk.size: a disk or a file system is of whole KiB"),
        ("disk.size = 1" + "0" * 30, "app.toml:1: disk.size: input should be less than or equal to"),
        ("disk.size = '99999TiB'", "app.toml:1: disk.size: a size is a number"),
        ("filesystem.free = 'auto'", "app.toml:1: filesystem.free: a size is a number"),
        ("filesystem.block_size = false", "app.toml:1: filesystem.block_size: no number"),
        ("vcpus = 0", "app.toml:1: vcpus: input should be greater than or equal to 1"),
        ("vcpus = '1'", "app.toml:1: vcpus: input should be a valid integer"),
        ("vcpus = true", "app.toml:1: vcpus: input should be a valid integer"),
        ("name = '-x'", "app.toml:1: name: string should match pattern"),
        ("name = 5", "app.toml:1: name: input should be a valid string"),
        ("name = ''", "app.toml:1: name: string should match pattern"),
        ("targets = []", "app.toml:1: targets: tuple should have at least 1 item"),
        ("targets = 'xen'", "app.toml:1: targets: a list is expected: [\"xen\"] (is 'xen')"),
        ("targets = [1]", "app.toml:1: targets.0: input should be a valid string"),
        ("filesystem.type = 'zfs'", "app.toml:1: filesystem.type: input should be 'ext2'"),
        ("filesystem.block_size = 512", "app.toml:1: filesystem.block_size: input should be 0, 1024"),
        ("filesystem.label = 'a b'", "app.toml:1: filesystem.label: string should match pattern"),
        ("filesystem.label = 'aaaaaaaaaaaaaaaaa'", "app.toml:1: filesystem.label: string should have at most 16"),
        ("root.from = ''", "app.toml:1: root.from: no path"),
        ("root.from = {}", "app.toml:1: root.from: input is not a valid path (is {})"),
        ("root.from = 5", "app.toml:1: root.from: input is not a valid path (is 5)"),
        (
            "[root.diskimage-bilder]",
            "app.toml:1: root.diskimage-bilder: no such key (did you mean diskimage-builder?)",
        ),
        (
            "[root.diskimage-builder]\nelement = []",
            "app.toml:2: root.diskimage-builder.element: no such key (did you mean elements?)",
        ),
        (
            "[root.diskimage-builder]\npackages = ['a b']",
            "app.toml:2: root.diskimage-builder.packages.0: no name of a package (is 'a b')",
        ),
        (
            "[root.diskimage-builder.environment]\nDIB_DEV_USER_PASSWORD = 'x'",
            "app.toml:2: root.diskimage-builder.environment.DIB_DEV_USER_PASSWORD.[key]: what is set here",
        ),
        (
            "[root.diskimage-builder.environment]\nDIB_RELEASE = 'x'",
            "app.toml:2: root.diskimage-builder.environment.DIB_RELEASE.[key]: imagekit sets this one",
        ),
        (
            "[root.diskimage-builder.environment]\n'1' = 'x'",
            "app.toml:2: root.diskimage-builder.environment.1.[key]: no name of a variable",
        ),
        (
            "kernel = 'k'\n[root]\nfrom = 'diskimage-builder'",
            "app.toml: root.from is diskimage-builder, and no elements are named",
        ),
        ("root.kernel = 'boot/k'", "app.toml:1: root.kernel: a boot loader's path"),
        ("root.kernel = '/boot/'", "app.toml:1: root.kernel: a boot loader's path"),
        ("root.kernel = '/'", "app.toml:1: root.kernel: a boot loader's path"),
        ("root.kernel = '/a/../b'", "app.toml:1: root.kernel: a boot loader's path"),
        ("root.kernel = '/my kernel'", "app.toml:1: root.kernel: a boot loader's path"),
        ("root.kernel = 5", "app.toml:1: root.kernel: input should be a valid string"),
        (
            "root.files = [{ from = 'a', to = 'b' }]",
            "app.toml:1: root.files.0.to: a path in the image begins with /",
        ),
        ("root.files = [{ from = 'a', to = '/..' }]", "app.toml:1: root.files.0.to: a path in the image"),
        ("root.files = [{ from = 'a', to = 5 }]", "app.toml:1: root.files.0.to: input should be a valid string"),
        ("root.files = [{ from = '' }]", "app.toml:1: root.files.0.from: no path"),
        ('kernel = "a\\u0000b"', "app.toml:1: kernel: no path"),
        ("kernel = ''", "app.toml:1: kernel: no path"),
        ("kernel = 5", "app.toml:1: kernel: input is not a valid path"),
        ("ramdisk = []", "app.toml:1: ramdisk: input is not a valid path"),
        ("image = 5", "app.toml:1: image: a list of tables is expected: write [[image]] (is 5)"),
        ("image = [5]", "app.toml:1: image.0: a table is expected (is 5)"),
        ("root = 5", "app.toml:1: root: a table is expected (is 5)"),
        ("variables = 5", 'app.toml:1: variables: a list is expected: ["…"] (is 5)'),
        ("cmdline = '" + "x" * 4096 + "'", "app.toml:1: cmdline: string should have at most 4095 characters"),
        (
            "\n[vif]\nbridge = 'b'",
            "app.toml:2: vif: a list of tables is expected: write [[vif]] (is {'bridge': 'b'})",
        ),
        ("[[image]]\n[image.vif]", "app.toml:2: image.0.vif: a list of tables is expected: write [[image.vif]]"),
        ("vif = [1]", "app.toml:1: vif.0: a table is expected (is 1)"),
        (
            "[[vif]]\n[[vif]]\nmac = '01:16:3e:12:34:56'",
            "app.toml:3: vif.1.mac: no MAC address: expected six pairs such as 00:16:3e:12:34:56",
        ),
        (
            "[[vif]]\nbridge = 'br 0'",
            "app.toml:2: vif.0.bridge: no bridge: expected the name of a bridge, such as xenbr0",
        ),
        ("[[vif]]\nscript = '$(x)'", "app.toml:2: vif.0.script: no network script: expected letters"),
        (
            "[[vif]]\nip = '192.0.2.7/24'",
            "app.toml:2: vif.0.ip: no address: expected one such as 192.0.2.7, without",
        ),
        (
            "[[vif]]\nip = 'fe80::1%eth0'",
            "app.toml:2: vif.0.ip: a scope is known to one machine only: leave it out",
        ),
        (
            "extra_disk = [{ path = '/x', vdev = 'sda' }]",
            "app.toml:1: extra_disk.0.vdev: no virtual device: expected xvda",
        ),
        (
            "disk.path = 'x'",
            "app.toml:1: disk.path: no path of a disk on the host: expected one line that begins with /",
        ),
        ("extra_disk = [{ path = '/x' }]", "app.toml:1: extra_disk.0.vdev: is missing"),
        ("kernel = 'k'\nfilesystem = { type = 'fat16', label = 'a.b' }", "app.toml: FAT takes no label 'a.b'"),
        ("kernel = 'k'\nfilesystem = { type = 'fat32', label = 'aaaaaaaaaaaa' }", "app.toml: FAT takes no label"),
        ("kernel = '~nobody-of-that-name/k'", "~nobody-of-that-name/k: nobody's home"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, words: str, refused: Refused) -> None:
    assert refused(text).startswith(words)


@pytest.mark.parametrize(
    "text, where",
    [
        ("kernel = 'k'\ndisk.layout = 'mbr'\ndisk.size = '2049GiB'", "app.toml:3: disk.size"),
        (
            "kernel = 'k'\n[[image]]\n[[image]]\nname = 'b'\ndisk = { layout = 'mbr', size = '3TiB' }",
            "app.toml:5: image.1.disk.size",
        ),
        ("kernel = 'k'\ndisk.layout = 'mbr'\ndisk.size = '3TiB'\n[[image]]", "app.toml:3: disk.size"),
    ],
)
def test_an_mbr_of_more_than_it_can_count(text: str, where: str, refused: Refused) -> None:
    words = refused(text)
    assert words.startswith(f"{where}: an MBR holds 2 TiB at most\n")
    assert words.endswith('hint: disk.layout = "gpt" holds more')


def test_a_hint_tells_no_secret(refused: Refused) -> None:
    words = refused("variables = ['NUMBER']\nmemory = '${NUMBER}'", NUMBER="77")
    assert "77" not in words
    assert refused("memory = 77").endswith('(is 77)\nhint: "77MiB"')


@pytest.mark.parametrize(
    "text,words",
    [
        (
            '[[root.files]]\nfrom = "x"\nowner = "me"',
            """root.files.0.owner: two numbers are expected: "UID:GID" (is 'me')""",
        ),
        (
            '[[root.files]]\nfrom = "x"\nmode = "rw"',
            """root.files.0.mode: an octal mode is expected: "0640" (is 'rw')""",
        ),
        ('[root]\nhostname = "a_b"', "root.hostname: a host name is of letters, digits, - and ."),
        ('[[root.ssh]]\nuser = "A"\nkeys = ["k"]', "root.ssh.0.user: a user's name is of small letters"),
        ("[[root.run]]\nrun = 5", "root.run.0.run: a command is a text, or a list"),
        ('[[root.run]]\nrun = ""', "root.run.0.run: a command is a text, or a list"),
        ("[disk]\nlvm = true", "disk.lvm: a table is expected (is true)"),
    ],
)
def test_no_words_of_pydantic_s(text: str, words: str, refused: Refused) -> None:
    said = refused(f'kernel = "a.xen"\n{text}\n')
    assert words in said
    assert "\n" not in said.strip()


def test_five_problems_at_once(refused: Refused) -> None:
    lines = refused("\n".join(f"wrong{number} = {number}" for number in range(7))).splitlines()
    assert [line.split(" ")[1] for line in lines] == [f"wrong{number}:" for number in range(5)]
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3", "4", "5"]


def test_what_fits_only_apart_is_refused_together(refused: Refused) -> None:
    """Both tables are right by themselves."""
    words = refused("kernel = 'k'\nfilesystem.label = 'a.b'\n[[image]]\nfilesystem.type = 'fat16'")
    assert "FAT takes no label" in words


@pytest.mark.parametrize(
    "text, words",
    [
        ("kernel = ", "app.toml is no TOML\nInvalid value (at end of document)"),
        ("a = 1\na = 2", "app.toml is no TOML\nCannot overwrite a value"),
        (b"kernel = '\xff'", "app.toml is no TOML\n'utf-8' codec can't decode"),
        ("x = " + "[" * 100_000, "app.toml is no TOML"),
        ("x = " + "{a=" * 10_000, "app.toml is no TOML"),
        ("x = " + "9" * 5000, "app.toml is no TOML"),
        (".".join("a" * 100_000) + " = 1", "app.toml is no recipe\na key of more than 50 parts"),
        ("[" + ".".join("a" * 52) + "]", "app.toml is no recipe"),
        ("".join(f"[{'.'.join('a' * 50)}.b{n}]\n" for n in range(500)), "app.toml:1: a: no such key"),
        ("x = " + "[" * 150 + "]" * 150, "app.toml:1: x: no such key"),
        ("name = " + "[" * 150 + "]" * 150, "app.toml:1: name: input should be a valid string"),
        ("#" * ((1 << 20) + 1), "app.toml is too large for a recipe\nover 1 MiB"),
    ],
)
def test_hostile_texts(text: str | bytes, words: str, refused: Refused) -> None:
    assert refused(text).startswith(words)


def test_settings_without_end(tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text('kernel = "a"')
    with pytest.raises(RecipeError, match="tables lie in tables without end"):
        read(tmp_path / "app.toml", dict([setting(".".join("a" * 20_000) + "=1")]), {})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read\nNo such file"):
        read(tmp_path / "none.toml", {}, {})
    with pytest.raises(RecipeError, match="cannot be read\nIs a directory"):
        read(tmp_path, {}, {})


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_give_anything_but_images_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        assert all(isinstance(image, Image) for image in read(path, {}, {}))
    except ImagekitError as error:
        assert str(error)  # noqa: PT017


# Documents: nested tables as plain data, and each written in a form of its own.

KEYS = st.one_of(
    st.text(st.sampled_from("abcxyz019_-"), min_size=1, max_size=6),
    st.text(st.sampled_from("ab \"'\\.\u00e9\U0001f40d\n\t#=["), min_size=1, max_size=5),
)
SCALARS = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(
        ["true", "1.5", '"text"', "'''\nmany\nlines = 1\n[x]\n'''", '"""\n# a = 1\n"""', "[]", "[1, 2]"]
    ),
)
TABLES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.dictionaries(KEYS, below, min_size=1, max_size=4),
        st.lists(st.dictionaries(KEYS, below, max_size=3), min_size=1, max_size=3),
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, TABLES, max_size=5)
MARK = "unknown-key"


def key_text(key: str, quote: bool) -> str:
    if not quote and key and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in key):
        return key
    return (
        '"'
        + "".join(letter if letter.isalnum() or letter == "-" else f"\\U{ord(letter):08x}" for letter in key)
        + '"'
    )


class Writer:
    """Writes a document, drawing how: inline, dotted, as tables; and remembers the line of the marked key."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []

    def key(self, *keys: str) -> str:
        dot = self.draw(st.sampled_from([".", " . "]))
        return str(dot.join(key_text(key, self.draw(st.booleans())) for key in keys))

    def inline(self, value: object) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return (
                "{ " + ", ".join(f"{self.key(key)} = {self.inline(below)}" for key, below in value.items()) + " }"
            )
        assert isinstance(value, list)
        gap: str = self.draw(st.sampled_from([", ", ",\n  ", ", # what, {x = 1}\n\n"]))
        return "[" + gap.join(self.inline(below) for below in value) + "\n]"

    def table(self, table: Mapping[str, Any], path: tuple[str, ...]) -> None:
        later = []
        for key, value in table.items():
            form = self.draw(st.sampled_from(["inline", "table", "dotted"]))
            if isinstance(value, str) or form == "inline":
                self.lines.append(
                    f"{self.key(key)} = {self.inline(value)}{self.draw(st.sampled_from(['', ' # c']))}"
                )
            elif form == "dotted" and isinstance(value, dict):
                for below, what in value.items():
                    self.lines.append(f"  {self.key(key, below)} = {self.inline(what)}")
            else:
                later.append((key, value))
        for key, value in later:
            self.lines += self.draw(st.sampled_from([[], [""], ["# a comment", ""]]))
            for element in [value] if isinstance(value, dict) else value:
                brackets = ("[", "]") if isinstance(value, dict) else ("[[", "]]")
                self.lines.append(f"{brackets[0]}{self.key(*path, key)}{brackets[1]}")
                self.table(element, (*path, key))


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all tables."""
    if isinstance(value, dict):
        return [path] + [place for key, below in value.items() for place in places(below, (*path, key))]
    if isinstance(value, list):
        return [place for number, below in enumerate(value) for place in places(below, (*path, number))]
    return []


@settings(max_examples=60)
@given(st.data(), DOCUMENTS)
def test_the_line_of_an_unknown_key(data: st.DataObject, document: dict[str, Any]) -> None:
    place = data.draw(st.sampled_from(places(document)))
    table: Any = document
    for step in place:
        table = table[step]
    at = data.draw(st.integers(0, len(table)))
    items = list(table.items())
    table.clear()
    table.update([*items[:at], (MARK, data.draw(SCALARS)), *items[at:]])
    writer = Writer(data.draw)
    writer.table(document, ())
    text = "\n".join(writer.lines)
    tomllib.loads(text)
    (line,) = (number for number, line in enumerate(text.split("\n"), 1) if MARK in line)
    assert line_of(text, (*place, MARK)) == line
    assert line_of(text.replace("\n", "\r\n"), (*place, MARK)) == line


def test_the_line_of_what_is_not_there() -> None:
    assert line_of("a = 1", ("b",)) is None
    assert line_of("", ("b", 0)) is None
    assert line_of("\n[a]", ("a", "b", 0, "c")) == 2
    assert line_of("\na = {}", ("a", "b")) == 2
    assert line_of("a = [\n1]", ("a", 0)) == 2
