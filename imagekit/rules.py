"""A Makefile fragment for recipes: one rule an artifact, from the plan, for GNU make 4.3 and later.

What a folder holds is left to the depfile that each build writes. Names that make would take for more than names
are refused: it has no way of quoting them that holds for targets, prerequisites and includes alike.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagekit.artifact import sidecar_path
from imagekit.depfile import escaped, short
from imagekit.errors import UsageError
from imagekit.plan import Plan
from imagekit.prepare import Prepared

_PLAIN = re.compile(r"[\w.+,@/ -]+")
_HEAD = """\
# Made by `imagekit make-rules`; include it in a Makefile:  include {name}
# It makes: all, clean; prove-NAME and prove-all; publish-NAME and publish-all. Nothing here is to be edited.
IMAGEKIT ?= imagekit
IMAGEKIT_FLAGS ?= -q

# A rule that fails leaves no half-made file: imagekit renames whole ones into place. This is for your own rules.
.DELETE_ON_ERROR:
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the artifacts of one command are made.

    `path` is the recipe or kernel, `outputs` the main files, `others` the files beside them, `options` name what
    of the recipe is made. `published` are those that an uploader takes.
    """

    path: str
    outputs: tuple[str, ...]
    sources: tuple[str, ...]
    options: tuple[str, ...]
    others: tuple[str, ...] = ()
    published: bool = False

    @property
    def depfile(self) -> str:
        """Where make finds what was read."""
        return f"{self.outputs[0]}.d"

    @property
    def name(self) -> str:
        """What it is called in prove-NAME: the main file's name, without its folder."""
        return Path(self.outputs[0]).name


@dataclass
class _Found:
    """What belongs into one rule, while it is gathered."""

    outputs: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    sources: dict[str, None] = field(default_factory=dict)
    published: bool = False


def rules_of(
    path: Path, prepared: Prepared, folder: str, published: Mapping[tuple[str, str], bool]
) -> Iterator[Rule]:
    """Yield the rules of one recipe or kernel: one an artifact; one for all if it has several images.

    `published` maps image and target to whether its artifact is uploaded.
    """
    images = {output.image for output in prepared.plan.outputs} | {one.image for one in prepared.pending}
    together = len(images) > 1
    found: dict[str, _Found] = {}
    for output in prepared.plan.outputs:
        one = found.setdefault("" if together else output.target, _Found())
        one.outputs.append(short(output.path))
        beside = [file for file, _ in output.files() if file != output.path]
        one.others += map(short, dict.fromkeys((*beside, sidecar_path(output.path))))
        one.sources |= dict.fromkeys(short(source.path) for source in Plan((output,)).sources())
        one.published |= published.get((output.image, output.target), False)
    for image, target, place in ((one.image, *output) for one in prepared.pending for output in one.outputs):
        one = found.setdefault("" if together else target, _Found())
        one.outputs.append(short(place))
        one.others.append(short(sidecar_path(place)))
        one.published |= published.get((image, target), False)
    for target, one in found.items():
        where = folder if together else one.outputs[0]
        options = (*(("--target", target) if target else ()), "-o", where)
        sources = tuple(dict.fromkeys((str(path), *one.sources)))
        yield Rule(str(path), tuple(one.outputs), sources, options, tuple(one.others), one.published)


def fragment(rules: Sequence[Rule], name: str) -> str:
    """Return the fragment; UsageError for a name that make cannot take, and for two rules of one name."""
    _check(rules)
    lines = [_HEAD.format(name=name)]
    for rule in rules:
        lines += _rule(rule)
    everything = [output for rule in rules for output in rule.outputs]
    published = [rule for rule in rules if rule.published]
    lines += [
        ".PHONY: all clean prove-all publish-all "
        + " ".join(escaped(f"{verb}-{rule.name}") for rule in rules for verb in _verbs(rule)),
        f"all: {_listed(everything)}",
        f"prove-all: {_listed(f'prove-{rule.name}' for rule in rules)}",
        f"publish-all: {_listed(f'publish-{rule.name}' for rule in published)}",
        "clean:",
        *(f"\trm -f -- {_shell(*rule.outputs, *rule.others, rule.depfile)}" for rule in rules),
        "",
        f"-include {' '.join(escaped(rule.depfile) for rule in rules)}",
        "",
    ]
    return "\n".join(lines)


def _rule(rule: Rule) -> Iterator[str]:
    separator = "&:" if len(rule.outputs) > 1 else ":"
    command = f"$(IMAGEKIT) build $(IMAGEKIT_FLAGS) {_shell(*rule.options)}"
    yield f"{' '.join(map(escaped, rule.outputs))} {separator} {_listed(rule.sources)}"
    yield f"\t{command} --depfile {_shell(rule.depfile)} {_shell(rule.path)}"
    for verb in _verbs(rule):
        yield f"{escaped(f'{verb}-{rule.name}')}: {_listed(rule.outputs)}"
        yield f"\t{command} --{verb} {_shell(rule.path)}"
    yield ""


def _verbs(rule: Rule) -> tuple[str, ...]:
    return ("prove", "publish") if rule.published else ("prove",)


def _listed(names: Iterable[str]) -> str:
    return " \\\n ".join(map(escaped, names))


def _shell(*words: str) -> str:
    """Return words for a recipe line: quoted for the shell, and then for make."""
    return shlex.join(words).replace("$", "$$")


def _check(rules: Sequence[Rule]) -> None:
    names: set[str] = set()
    for rule in rules:
        for path in (rule.path, *rule.outputs, *rule.sources):
            if not _PLAIN.fullmatch(path) or path.startswith("-"):
                raise UsageError(
                    f"{path!r} cannot be a name in a Makefile",
                    hint="letters, digits, spaces and . _ + , @ / - (not first) can be",
                )
        if rule.name in names:
            raise UsageError(f"two artifacts are named {rule.name}", hint="write a fragment for each recipe")
        names.add(rule.name)
