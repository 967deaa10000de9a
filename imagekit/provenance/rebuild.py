"""Makes an artifact again from its statement, in a store of its own, and compares bytes."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from imagekit.build import Runner, build
from imagekit.errors import ImagekitError, VerificationError
from imagekit.prepare import Request, prepare
from imagekit.provenance import files, strict, sums
from imagekit.provenance.parameters import KEYS, restored
from imagekit.provenance.record import BUILD_TYPE, TREES
from imagekit.provenance.statement import PROVENANCE, Statement, listed, parse
from imagekit.runner import tool_version
from imagekit.sparse import BLOCK, digest_tree
from imagekit.store import Store
from imagekit.verify import Check
from imagekit.verify.check import passed, skipped
from imagekit.version import __version__


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a statement says of a build."""

    recipe: Mapping[str, Any]
    target: str
    epoch: int
    tools: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, str]]
    """Digests by the input's name."""
    version: str


def rebuild(main: Path, folders: Sequence[Path], environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is seen while an artifact is made again from the statement beside it.

    Inputs are looked for by their names, from each folder on, and by their last part in it. VerificationError when
    one is missing or changed, and when a file differs; it names tools of other versions, which may be why.
    """
    path = files.beside(main, files.STATEMENT)
    statement = parse(strict.read(path), str(path))
    for name, digest in statement.subjects:
        sums.check_file(main.parent, name, digest, str(path))
    wanted = _wanted(statement, str(path))
    places = _found(wanted, folders, str(path))
    yield passed("inputs", f"{len(places)} are what {path.name} tells of")
    others = _other_versions(wanted)
    yield (
        skipped("tools", f"not the same: {'; '.join(others)}") if others else passed("tools", "the same versions")
    )
    with TemporaryDirectory(prefix="imagekit-rebuild-", dir=_room(environment)) as scratch:
        with_keys = replace(wanted, recipe=_with_keys(wanted.recipe, folders, environment))
        again = _built(with_keys, main.name, Path(scratch), places, environment)
        for name, _ in statement.subjects:
            _compare(main.with_name(name), again.with_name(name), others)
    yield passed("rebuild", f"{len(statement.subjects)} files, the same bytes")


def _wanted(statement: Statement, where: str) -> _Wanted:
    try:
        definition = statement.predicate["buildDefinition"]
        if statement.kind != PROVENANCE or definition["buildType"] != BUILD_TYPE:
            raise VerificationError(f"{where} tells of no build of imagekit's", details=statement.kind)
        outer, inner = definition["externalParameters"], definition["internalParameters"]
        unknown = outer.keys() - {"recipe", "target", "sourceDateEpoch"}
        if unknown:  # SLSA: "Verifiers SHOULD reject unrecognized or unexpected fields"
            raise VerificationError(
                f"{where} has parameters that are not known", details=", ".join(sorted(unknown))
            )
        dependencies = listed(statement.predicate, "buildDefinition", "resolvedDependencies", where=where)
        return _Wanted(
            recipe=dict(outer["recipe"]),
            target=str(outer["target"]),
            epoch=int(outer["sourceDateEpoch"]),
            tools={str(name): str(line) for name, line in inner["tools"].items()},
            inputs={str(one["name"]): dict(one["digest"]) for one in dependencies if one.get("digest")},
            version=str(statement.predicate["runDetails"]["builder"]["version"]["imagekit"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(
            f"{where} does not tell how it was built", details=f"{type(error).__name__}: {error}"[:200]
        ) from None


def _found(wanted: _Wanted, folders: Sequence[Path], where: str) -> dict[str, Path]:
    """Return where each input lies; VerificationError names all that are missing or changed."""
    found: dict[str, Path] = {}
    wrong = []
    for name, digests in wanted.inputs.items():
        there = [path for path in _places(name, folders) if path.exists()]
        same = next((path for path in there if _same(path, digests)), None)
        if same is not None:
            found[name] = same.absolute()
        elif re.search(r"\.toml$", name) and not any(name in _strings(one) for one in wanted.recipe.values()):
            continue  # the recipe's own text: what it came to is in the statement
        else:
            wrong.append(f"{name}: {'changed: ' + str(there[0]) if there else 'not found'}")
    if wrong:
        raise VerificationError(
            f"not all inputs that {where} tells of are here",
            details="\n".join(wrong),
            hint="--input-dir names the recipe's folder, or one in which they lie",
        )
    return found


def _places(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield folder / name
        yield folder / Path(name).name


def _strings(value: object) -> Iterator[str]:
    """Yield the texts in a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _same(path: Path, digests: Mapping[str, str]) -> bool:
    if not path.is_dir():
        return path.is_file() and digests.get("sha256") == sums.sha256(path)
    return any(
        digests.get(name) == digest_tree(path, kept=kept) for kept, name in TREES.items() if name in digests
    )


def _with_keys(
    recipe: Mapping[str, Any], folders: Sequence[Path], environment: Mapping[str, str]
) -> Mapping[str, Any]:
    """Return the recipe with the places of a bundle's keys, of which a statement holds no digest."""
    named = recipe.get("ami")
    if not isinstance(named, dict):
        return recipe
    places = ((key, folder / str(named[key])) for key in KEYS if key in named for folder in folders)
    found = {**named, **{key: str(path.absolute()) for key, path in places if path.exists()}}
    if key_file := environment.get("EC2_PRIVATE_KEY"):
        found["private_key"] = str(Path(key_file).absolute())
    return {**recipe, "ami": found}


def _other_versions(wanted: _Wanted) -> list[str]:
    """Return in words which tools are of another version here, or are not there."""
    found = []
    for name, line in (*wanted.tools.items(), ("imagekit", wanted.version)):
        try:
            here = __version__ if name == "imagekit" else tool_version(name)
        except ImagekitError as error:
            here = error.brief
        if here != line:
            found.append(f"{name} was {line!r}, and is {here!r}")
    return found


def _room(environment: Mapping[str, str]) -> str | None:
    """Return where to work: beside the cache, which has room for images; else in TMPDIR."""
    return (
        environment.get("IMAGEKIT_CACHE_DIR") if os.path.isdir(environment.get("IMAGEKIT_CACHE_DIR", "")) else None
    )


def _built(
    wanted: _Wanted, name: str, scratch: Path, places: Mapping[str, Path], environment: Mapping[str, str]
) -> Path:
    """Build it below a folder, in a store that is new, and return where its main file lies."""

    def place(of: str) -> Path:
        if of not in places:
            raise VerificationError(f"the statement's recipe reads {of}, and names no digest of it")
        return places[of]

    image = restored(wanted.recipe, place)
    out = scratch / "out" / name
    out.parent.mkdir()
    request = Request((), (wanted.target,), str(out), images=(image,))
    store = Store(scratch / "store")
    with store.in_use():
        runner = Runner(store)
        prepared = prepare(request, runner, {**environment, "SOURCE_DATE_EPOCH": str(wanted.epoch)})
        build(prepared.plan, store, jobs=os.cpu_count() or 1, runner=runner)
    return out


def _compare(one: Path, other: Path, others: Sequence[str]) -> None:
    """VerificationError, with the first block that differs, unless two files have the same bytes."""
    hint = "\n".join(others) or "the same tools made other bytes"
    if not other.exists():
        raise VerificationError(f"{one} was not made again", hint=hint)
    sizes = one.stat().st_size, other.stat().st_size
    with one.open("rb") as left, other.open("rb") as right:
        for number in range(-(-max(sizes) // BLOCK)):
            pair = left.read(BLOCK), right.read(BLOCK)
            if pair[0] != pair[1]:
                at = number * BLOCK + next(
                    (at for at, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair))
                )
                told = f"first in block {number} (of {BLOCK} bytes), at byte {at}; {sizes[0]} and {sizes[1]} bytes"
                raise VerificationError(f"{one} is made otherwise today", details=told, hint=hint)
