"""The published schema accepts what the models accept, and refuses what they refuse."""

import copy
import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from imagekit.recipe import MIB, Recipe, schema

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
VALIDATOR = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker(["ipv4", "ipv6"]))


def test_the_shipped_schema_is_that_of_the_models() -> None:
    shipped = files("imagekit.recipe").joinpath("schema.json").read_text()
    assert json.loads(shipped) == schema(), "run: imagekit schema > imagekit/recipe/schema.json"
    assert shipped.endswith("}\n")


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_has_a_type_and_every_default_is_accepted() -> None:
    whole = schema()
    for table in (whole, *whole["$defs"].values()):
        if table["title"] == "Matrix":  # its other keys are the recipe's
            assert table["additionalProperties"] == {"type": ["array", "object"]}
        else:
            assert table["additionalProperties"] is False
        for name, key in table["properties"].items():
            assert {"$ref", "type", "anyOf", "enum"} & set(key), name
            if "default" in key:
                jsonschema.Draft202012Validator({**key, "$defs": whole["$defs"]}).validate(key["default"])


def test_there_are_recipes() -> None:
    names = {path.stem for path in RECIPES}
    assert names >= {
        "hello",
        "hello-mbr",
        "hello-gpt",
        "hello-with-files",
        "hello-hvm",
        "pvh",
        "grub",
        "linux",
        "qubes",
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_accepts_our_recipes(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text()))


# Values near the border of right and wrong, by key; those of other keys come up now and then.

SIZES = st.one_of(
    st.integers(-1, 3),
    st.integers(0, 40).map(lambda bits: 1 << bits),
    st.sampled_from([4 * MIB - 1, 4 * MIB, 5 * MIB, 9999 << 40, (9999 << 40) + 1024, 10**30, -(10**30)]),
    st.sampled_from(
        ["auto", "Auto", "", "64MiB", "64 mib", "064MiB", "1.5GiB", "64MB", "9999TiB", "10000TiB", "7"]
    ),
    st.from_regex(r"[0-9]{1,5} ?([kKmMgGtT][iI])?[bB]?", fullmatch=True),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "xen", "a", "-", "a" * 16, "a" * 17, "a" * 64, "x" * 4095, "x" * 4096, "${X}", "a b", "a.b"]
    ),
    st.text(max_size=4),
)
PATHS = st.one_of(
    st.sampled_from(
        ["/", "/a", "a", "/a/", "//a", "/a/../b", "/..", "/...", "/.", "/a.", "/./a", "/a b", "/\u00e9", "\0"]
    ),
    st.text(st.sampled_from("/.a\0 "), max_size=6),
)
WORDS = st.sampled_from(
    [
        "ext2",
        "ext4",
        "fat16",
        "xfs",
        "plain",
        "mbr",
        "gpt",
        "auto",
        "pv",
        "pvh",
        "hvm",
        "ro",
        "rw",
        "raw",
        "qcow2",
        "vhd",
        "pygrub",
        "direct",
    ]
)
DEVICES = st.sampled_from(
    [
        "00:16:3e:12:34:56",
        "01:16:3e:12:34:56",
        "00:16:3e:12:34",
        "192.0.2.7",
        "192.0.2.7/24",
        "192.0.2.256",
        "fe80::1",
        "fe80::1%eth0",
        "xenbr0",
        "ovsbr0.3:5",
        "vif-bridge",
        "/etc/xen/scripts/vif-bridge",
        "xvda",
        "xvdb1",
        "xvda0",
        "sda",
    ]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 512, 513, 1024, 2048, 4096, 8192, True, False, 1.5])
SCALARS = st.one_of(SIZES, TEXTS, PATHS, WORDS, NUMBERS)
TABLES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "files": {"from": PATHS | TEXTS, "to": PATHS},
    "filesystem": {
        "type": WORDS,
        "size": SIZES,
        "free": SIZES,
        "label": TEXTS,
        "block_size": NUMBERS,
    },
    "disk": {"layout": WORDS, "size": SIZES, "path": PATHS},
    "vif": {"bridge": TEXTS | DEVICES, "mac": TEXTS | DEVICES, "ip": TEXTS | DEVICES, "script": TEXTS | DEVICES},
    "extra_disk": {"path": PATHS, "vdev": TEXTS | DEVICES, "access": WORDS, "format": WORDS},
    "xen": {"loader": WORDS, "kernel_path": TEXTS},
}


def tables(
    keys: dict[str, st.SearchStrategy[Any]], required: tuple[str, ...] = ()
) -> st.SearchStrategy[dict[str, Any]]:
    """Tables that are mostly right: now and then with a wrong key, a value of another kind, or without a key."""
    right = st.fixed_dictionaries(
        {key: keys[key] for key in required},
        optional={key: value for key, value in keys.items() if key not in required},
    )
    wrong: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
        st.sampled_from([*keys, "unknown", "Name"]), SCALARS | st.just({}) | st.just([1]), max_size=3
    )
    return right | right | right | wrong


BUILDER: dict[str, st.SearchStrategy[Any]] = {
    "elements": st.lists(TEXTS | st.sampled_from(["debian-minimal", "a;b", "a+b"]), max_size=2) | SCALARS,
    "elements_path": st.lists(PATHS, max_size=2) | SCALARS,
    "packages": st.lists(TEXTS | st.sampled_from(["g++", "a=1.0~rc", "$(id)"]), max_size=2) | SCALARS,
    "release": TEXTS | st.sampled_from(["bookworm", "Bookworm", "12.1"]),
    "environment": st.dictionaries(
        TEXTS
        | st.sampled_from(["DIB_X", "HOME", "HOMELY", "A_PASSWORD", "MY_TOKEN_X", "1A", "break", "DIB_RELEASE"]),
        TEXTS | PATHS | NUMBERS,
        max_size=2,
    )
    | SCALARS,
    "arch": WORDS | st.just("amd64"),
}
ROOT = tables(
    {
        "from": PATHS | st.sampled_from(["kernel", "diskimage-builder"]) | SCALARS,
        "diskimage-builder": tables(BUILDER),
        "kernel": PATHS,
        "files": st.lists(tables(TABLES["files"], ("from",)), max_size=2) | SCALARS,
    },
)
IMAGE_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXTS,
    "kernel": PATHS,
    "ramdisk": PATHS,
    "targets": st.lists(TEXTS, max_size=2) | SCALARS,
    "boot": WORDS,
    "cmdline": TEXTS,
    "memory": SIZES,
    "vcpus": NUMBERS,
    "root": ROOT,
    "filesystem": tables(TABLES["filesystem"]),
    "disk": tables(TABLES["disk"]),
    "vif": st.lists(tables(TABLES["vif"]), max_size=2),
    "extra_disk": st.lists(tables(TABLES["extra_disk"], ("path", "vdev")), max_size=2),
    "xen": tables(TABLES["xen"]),
}
RECIPE_KEYS = {
    **IMAGE_KEYS,
    "variables": st.lists(TEXTS, max_size=2) | SCALARS,
    "image": st.lists(tables(IMAGE_KEYS), max_size=2) | SCALARS,
}


def some(keys: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Recipes of few keys, so that a fault in one of them is what decides."""
    names = st.lists(st.sampled_from(sorted(keys)), max_size=3, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: keys[name] for name in chosen}))


def accepted(recipe: dict[str, Any]) -> bool:
    try:
        Recipe.model_validate(recipe)
    except ValidationError:
        return False
    return True


def sizes_that_only_arithmetic_refuses(recipe: Any) -> bool:  # noqa: ANN401 -- any TOML
    """Tell whether a size is a text that a pattern cannot judge: "5000KiB" is no whole number of MiB."""
    if isinstance(recipe, list):
        return any(map(sizes_that_only_arithmetic_refuses, recipe))
    if not isinstance(recipe, dict):
        return False
    texts = [value for key, value in recipe.items() if key in {"memory", "size"} and isinstance(value, str)]
    if any(value != "auto" for value in texts):
        return True
    return any(map(sizes_that_only_arithmetic_refuses, recipe.values()))


@settings(max_examples=400)
@given(some(RECIPE_KEYS))
def test_schema_and_models_agree(recipe: dict[str, Any]) -> None:
    by_schema = VALIDATOR.is_valid(recipe)
    by_models = accepted(copy.deepcopy(recipe))
    if by_models:
        assert by_schema, next(VALIDATOR.iter_errors(recipe))
    elif not sizes_that_only_arithmetic_refuses(recipe):
        assert not by_schema


@pytest.mark.parametrize(
    "recipe",
    [
        {"memory": "5000KiB"},
        {"memory": "3MiB"},
        {"disk": {"size": "1025B"}},
    ],
)
def test_what_only_arithmetic_refuses(recipe: dict[str, Any]) -> None:
    assert not accepted(recipe)
    assert VALIDATOR.is_valid(recipe)
