"""Why a recipe is refused: file, line, key, what is wrong, and what was perhaps meant."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from imagekit.errors import RecipeError
from imagekit.recipe.locate import line_of
from imagekit.recipe.models import Recipe

Keys = tuple[int | str, ...]
_KINDS = ("constrained-str", "tuple[")
"""What pydantic puts behind a key that takes several kinds of values, for each."""
_FORMS = {
    "files.owner": 'two numbers are expected: "UID:GID"',
    "files.mode": 'an octal mode is expected: "0640"',
    "root.hostname": "a host name is of letters, digits, - and ., and no part of it begins or ends with -",
    "ssh.user": "a user's name is of small letters, digits, _ and -, and begins with no digit",
    "run.run": 'a command is a text, or a list: ["/bin/ls", "-l"]',
}
"""What keys, with their tables' names, expect whose values a pattern, or a choice of kinds, describes."""


def explained(error: ValidationError, path: Path | None) -> RecipeError:
    """Return the error for a recipe that the models refuse: its first five problems, a line each."""
    text = path.read_text(errors="replace") if path else ""
    private = "${" in text  # a value may come from the environment, and be a secret
    problems = _problems(error)[:5]
    lines = [f"{_place(path, text, problem['loc'])}: {_words(problem, private=private)}" for problem in problems]
    hints = [str(problem["ctx"]["hint"]) for problem in problems if "hint" in problem.get("ctx", {})]
    return RecipeError(
        lines[0], details="\n".join(lines[1:]), hint="" if private else ", ".join(dict.fromkeys(hints))
    )


def _problems(error: ValidationError) -> list[Any]:
    """Return pydantic's ErrorDetails by the recipe's own keys: one of a key that takes several kinds."""
    found: dict[Keys, Any] = {}
    for problem in error.errors(include_url=False):
        keys = tuple(key for key in problem["loc"] if not str(key).startswith(_KINDS))
        found.setdefault(keys, {**problem, "loc": keys})
    return list(found.values())


def place(path: Path | None, *alternatives: Keys) -> str:
    """Return file, line and key for a message: of the first of the keys that is in the text as a whole."""
    text = path.read_text(errors="replace") if path else ""
    found = next((keys for keys in alternatives if line_of(text, keys, whole=True)), alternatives[-1])
    return _place(path, text, found)


def _place(path: Path | None, text: str, keys: Keys) -> str:
    line = line_of(text, keys) if path else None
    where = f"{path or 'the command line'}{f':{line}' if line else ''}"
    return f"{where}: {'.'.join(str(key) for key in keys)}"


def _words(problem: Any, *, private: bool) -> str:  # noqa: ANN401 -- pydantic's ErrorDetails
    keys: Keys = tuple(problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"no such key ({_did_you_mean(keys)})"
    if problem["type"] == "missing":
        return "is missing"
    message = _in_toml(problem["type"], keys, "…" if private else problem["input"]) or str(
        problem["msg"]
    ).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}" + ("" if private else f" (is {_shown(problem['input'])})")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value!r:.80}"


def _in_toml(kind: str, keys: Keys, value: object) -> str:
    """Return what is expected, where pydantic would tell it in Python's words, or by a pattern."""
    if kind in {"string_pattern_mismatch", "string_type", "string_too_short"}:
        names = [key for key in keys if isinstance(key, str)]
        if form := _FORMS.get(".".join(names[-2:])):
            return form
    if kind == "tuple_type":
        if _table(_model(keys), str(keys[-1])):
            return (
                f"a list of tables is expected: write [[{'.'.join(key for key in keys if isinstance(key, str))}]]"
            )
        return f'a list is expected: ["{value if isinstance(value, str) else "…"}"]'
    return "a table is expected" if kind in {"model_type", "model_attributes_type"} else ""


def _did_you_mean(keys: Keys) -> str:
    known = [field.alias or name for name, field in _model(keys).model_fields.items()]
    close = difflib.get_close_matches(str(keys[-1]), known, 1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known))}"


def _model(keys: Keys) -> type[BaseModel]:
    """Return the table that the last of the keys is in."""
    model: type[BaseModel] = Recipe
    for key in keys[:-1]:
        if isinstance(key, str):
            model = _table(model, key) or model
    return model


def _table(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = next((field for name, field in model.model_fields.items() if key in {name, field.alias}), None)
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ()
    return next(
        (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)),
        None,
    )
