"""A plan's keys tell every change that matters, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.plan import Input, Json, Output, Plan, Source, Step, key
from imagekit.stages import text_step


def run(_inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    out.write_text("")


def other(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    run(inputs, out, options)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(st.text(), values, max_size=5)
digests = st.dictionaries(st.text(min_size=1), st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4)
versions = st.dictionaries(st.text(min_size=1), st.text(), max_size=3)

BASE = Step("disk", run, {}, {"layout": "plain", "size": 1}, 1, ("mke2fs",))
DIGESTS = {"root": "0" * 64, "files-0": "1" * 64}
VERSIONS = {"mke2fs": "mke2fs 1.47.0", "debugfs": "debugfs 1.47.0"}


@given(options, digests, versions)
def test_order_does_not_change_a_key(chosen: dict[str, Json], read: dict[str, str], tools: dict[str, str]) -> None:
    def turned(table: dict[str, Json]) -> dict[str, Json]:
        return {
            name: turned(value) if isinstance(value, dict) else value for name, value in reversed(table.items())
        }

    first = key(Step("a", run, {}, chosen), read, tools)
    second = key(Step("a", run, {}, turned(chosen)), dict(reversed(read.items())), dict(reversed(tools.items())))
    assert first == second
    assert len(first) == 64


@given(options, options)
def test_other_options_are_another_key(left: dict[str, Json], right: dict[str, Json]) -> None:
    same = key(Step("a", run, {}, left), {}, {}) == key(Step("a", run, {}, right), {}, {})
    assert same == (repr(sorted_deeply(left)) == repr(sorted_deeply(right)))


def sorted_deeply(value: Json) -> Json:
    """Return a value whose repr is equal for equal JSON."""
    if isinstance(value, dict):
        return {name: sorted_deeply(value[name]) for name in sorted(value)}
    return [sorted_deeply(item) for item in value] if isinstance(value, list) else value


CHANGES: dict[str, Callable[[], str]] = {
    "name": lambda: key(replace(BASE, name="disc"), DIGESTS, VERSIONS),
    "function": lambda: key(replace(BASE, run=other), DIGESTS, VERSIONS),
    "revision": lambda: key(replace(BASE, revision=2), DIGESTS, VERSIONS),
    "option": lambda: key(replace(BASE, options={"layout": "mbr", "size": 1}), DIGESTS, VERSIONS),
    "option's type": lambda: key(replace(BASE, options={"layout": "plain", "size": "1"}), DIGESTS, VERSIONS),
    "option more": lambda: key(replace(BASE, options={**BASE.options, "label": ""}), DIGESTS, VERSIONS),
    "option less": lambda: key(replace(BASE, options={"layout": "plain"}), DIGESTS, VERSIONS),
    "input": lambda: key(BASE, {**DIGESTS, "root": "2" * 64}, VERSIONS),
    "inputs exchanged": lambda: key(BASE, {"root": "1" * 64, "files-0": "0" * 64}, VERSIONS),
    "input less": lambda: key(BASE, {"root": "0" * 64}, VERSIONS),
    "tool": lambda: key(BASE, DIGESTS, {**VERSIONS, "mke2fs": "mke2fs 1.47.2"}),
    "tool less": lambda: key(BASE, DIGESTS, {}),
}


def test_every_change_is_another_key() -> None:
    keys = {name: change() for name, change in CHANGES.items()}
    assert len({key(BASE, DIGESTS, VERSIONS), *keys.values()}) == len(keys) + 1


def test_what_is_not_read_does_not_change_a_key(tmp_path: Path) -> None:
    """Where inputs lie is the builder's; `tools` is asked for their versions, and those are in the key."""
    moved = replace(BASE, inputs={"root": Source(tmp_path)}, tools=())
    assert key(moved, DIGESTS, VERSIONS) == key(BASE, DIGESTS, VERSIONS)


def test_nan_is_no_option() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key(Step("a", run, {}, {"x": float("nan")}), {}, {})


def output(main: Step, **companions: Step) -> Output:
    return Output("app", "xen", Path("app.raw"), main, {f".{name}": step for name, step in companions.items()})


def test_equal_steps_and_sources_are_one() -> None:
    def disk() -> Step:
        root = Step("root", run, {"kernel": Source(Path("k"))})
        return Step("disk", run, {"root": root, "kernel": Source(Path("k"))})

    plan = Plan.of([output(disk(), cfg=text_step("cfg", "x")), output(disk(), cfg=text_step("cfg", "x"))])
    assert [step.name for step in plan.steps()] == ["cfg", "root", "disk"]
    assert [source.path for source in plan.sources()] == [Path("k")]


@pytest.mark.parametrize(
    "second",
    [
        Step("disc", run, {"kernel": Source(Path("k"))}, {"x": 1}),
        Step("disk", other, {"kernel": Source(Path("k"))}, {"x": 1}),
        Step("disk", run, {"kernel": Source(Path("l"))}, {"x": 1}),
        Step("disk", run, {"ramdisk": Source(Path("k"))}, {"x": 1}),
        Step("disk", run, {"kernel": Source(Path("k"))}, {"x": 2}),
        Step("disk", run, {"kernel": Source(Path("k"))}, {"x": 1}, revision=2),
    ],
)
def test_steps_that_differ_stay_two(second: Step) -> None:
    first = Step("disk", run, {"kernel": Source(Path("k"))}, {"x": 1})
    assert len(Plan.of([output(first), output(second)]).steps()) == 2


def test_companions_come_first_and_the_main_file_last() -> None:
    made = output(BASE, xml=text_step("xml", ""), cfg=text_step("cfg", ""))
    assert [str(path) for path, _ in made.files()] == ["app.raw.cfg", "app.raw.xml", "app.raw"]


def test_steps_come_after_what_they_read() -> None:
    first = Step("first", run, {})
    second = Step("second", run, {"a": first})
    third = Step("third", run, {"a": second, "b": first})
    assert Plan((output(third, zzz=first),)).steps() == (first, second, third)
