"""Elements of diskimage-builder: where they lie, and which ones a choice of them comes to.

An element is a folder. `element-deps` names others, a line each, that it needs; `element-provides` what it stands
for, so that no other is taken for that. An element of an earlier folder hides one of the same name. One has to
provide `operating-system` (diskimage-builder's documentation, "Developing Elements", "Dependencies").
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from imagekit.errors import RecipeError, ToolError

OURS = Path(__file__).with_name("elements")
ALWAYS = "fixed-tree"
"""The element of ours that every tree gets."""
_SYSTEM = "operating-system"


def shipped() -> Path:
    """Return the folder of diskimage-builder's own elements; ToolError when it is not installed."""
    spec = find_spec("diskimage_builder")
    if spec is None or spec.origin is None:
        raise ToolError("diskimage-builder is not installed", hint="pip install 'imagekit[os]'")
    return Path(spec.origin).with_name("elements")


def resolved(wanted: Sequence[str], folders: Sequence[Path]) -> Mapping[str, Path]:
    """Return the elements that `wanted` comes to, by name: with what they need, without what others provide.

    RecipeError for one that no folder has, for two that provide the same, and for none that is a system.
    """
    known: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                known.setdefault(path.name, path)
    chosen, waiting = dict.fromkeys(wanted), list(wanted)
    provided: dict[str, str] = {}
    while waiting:
        name = waiting.pop(0)
        if name in provided:
            continue
        if name not in known:
            raise _unknown(name, known, folders)
        for one in _words(known[name] / "element-provides"):
            if one in provided:
                raise RecipeError(f"the elements {provided[one]} and {name} both provide {one}")
            provided[one] = name
        needed = [one for one in _words(known[name] / "element-deps") if one not in chosen and one not in provided]
        chosen.update(dict.fromkeys(needed))
        waiting += needed
    _check(wanted, provided)
    return {name: known[name] for name in sorted(chosen) if name not in provided}


def _check(wanted: Iterable[str], provided: Mapping[str, str]) -> None:
    for name in wanted:
        if name in provided:
            raise RecipeError(f"the element {name} is provided by {provided[name]} already")
    if _SYSTEM not in provided:
        raise RecipeError(
            f"no element provides {_SYSTEM}: {', '.join(wanted)}",
            hint='elements = ["debian-minimal", "xen-pv-guest"], for example',
        )


def _unknown(name: str, known: Iterable[str], folders: Iterable[Path]) -> RecipeError:
    from difflib import get_close_matches  # noqa: PLC0415 -- for an error

    close = get_close_matches(name, list(known), 1)
    return RecipeError(
        f"there is no element {name}",
        details="looked in: " + ", ".join(map(str, folders)),
        hint=f"did you mean {close[0]}?" if close else "elements_path names folders of your own",
    )


def _words(path: Path) -> list[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return sorted({line.strip() for line in lines if line.strip()})
