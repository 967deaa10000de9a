"""Xen's reader: what it says, and that nothing brings it down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ToolError, VerificationError
from imagekit.verify import xlu
from imagekit.verify.xlu import DiskSpec, parse_xl_cfg, parse_xl_disk

TOKENS = st.lists(st.sampled_from([*"a=+'\"\\[],;\n# 1x@(:", "name", "+=", "\\x41", "\\07", "'b'", "é", "a=1\n"]))
HOSTILE = TOKENS.map("".join) | st.text()


def test_strings_lists_and_numbers() -> None:
    text = "name = 'a'; memory=0x10\ndisk = [ 'x',\n\"y\", ]\nnone = []\nextra = 'a'\nextra += \"b\"\n"
    assert parse_xl_cfg(text) == {"name": "a", "memory": "0x10", "disk": ["x", "y"], "none": [], "extra": "ab"}


def test_what_only_looks_like_a_setting() -> None:
    assert parse_xl_cfg("# no=1\nextra='root=/dev/xvda1'\n") == {"extra": "root=/dev/xvda1"}


def test_a_syntax_error_comes_in_xens_words() -> None:
    with pytest.raises(VerificationError) as error:
        parse_xl_cfg("name='a'\nmemory=lots\n")
    assert "xl.cfg:2: config parsing error near `lots': syntax error" in error.value.details


@pytest.mark.parametrize(
    "text, words",
    [
        ("name='a\0b'\n", "NUL"),
        ("#" * xlu.SIZE_LIMIT + "\n", "longer than"),
        ("name='\ud800'\n", "UTF-8"),
        ("a=[['b']]\n", "list inside"),
        ("a=" + "[" * 30000, "cannot read"),
    ],
    ids=["nul", "long", "surrogate", "nested", "deep"],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        parse_xl_cfg(text)


@given(HOSTILE)
def test_hostile_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_xl_cfg(text), dict)
    except VerificationError as error:
        assert error.brief  # noqa: PT017 -- both ends are right


@pytest.mark.parametrize(
    "spec, disk",
    [
        ("/dev/vg/a,raw,xvda,rw", DiskSpec("/dev/vg/a", "xvda", "raw", writable=True)),
        ("file:/a.img,xvda,r", DiskSpec("/a.img", "xvda", "raw", writable=False)),
        ("format=qcow2, vdev=xvdb, target=/a, b=c", DiskSpec("/a, b=c", "xvdb", "qcow2", writable=True)),
    ],
)
def test_disks(spec: str, disk: DiskSpec) -> None:
    assert parse_xl_disk(spec) == disk


@pytest.mark.parametrize("spec", ["", "/a", "format=raw, vdev=xvda", "format=odd,vdev=xvda,target=/a"])
def test_disks_that_xen_does_not_take(spec: str) -> None:
    with pytest.raises(VerificationError, match="cannot read this disk"):
        parse_xl_disk(spec)


@pytest.mark.parametrize("spec, words", [("a=\n", "newline"), ("a\0", "NUL")])
def test_disks_that_would_end_the_process(spec: str, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        parse_xl_disk(spec)


@given(
    st.lists(st.sampled_from(["vdev=", "xvda", "target=", "raw:", "tap:", "/a", *",=: \t\\"])).map("".join)
    | st.text()
)
def test_hostile_disks_are_read_or_refused(spec: str) -> None:
    try:
        assert isinstance(parse_xl_disk(spec), DiskSpec)
    except VerificationError as error:
        assert error.brief  # noqa: PT017 -- both ends are right


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlu, "_LIBRARY", "libxlutil.so.0")
    with pytest.raises(ToolError, match=r"libxlutil\.so\.0 is not installed") as error:
        parse_xl_cfg("name='a'\n")
    assert error.value.hint == "sudo apt-get install libxenmisc4.17"
