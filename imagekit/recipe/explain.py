"""Why a recipe is refused: file, line, key, what is wrong, and what was perhaps meant."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from imagekit.errors import RecipeError
from imagekit.recipe.locate import line_of
from imagekit.recipe.models import Recipe


def explained(error: ValidationError, path: Path | None) -> RecipeError:
    """Return the error for a recipe that the models refuse: its first five problems, a line each."""
    lines = []
    text = path.read_text(errors="replace") if path else ""
    for problem in error.errors(include_url=False, include_context=False)[:5]:
        keys = tuple(problem["loc"])
        line = line_of(text, keys) if path else None
        place = ".".join(str(key) for key in keys)
        where = f"{path or 'the command line'}{f':{line}' if line else ''}"
        lines.append(f"{where}: {place}: {_words(problem, private='${' in text)}")
    return RecipeError(lines[0], details="\n".join(lines[1:]))


def _words(problem: Any, *, private: bool) -> str:  # noqa: ANN401 -- pydantic's ErrorDetails
    if problem["type"] == "extra_forbidden":
        return f"no such key ({_did_you_mean(tuple(problem['loc']))})"
    if problem["type"] == "missing":
        return "is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    # A value may come from the environment, and be a secret.
    return f"{message[0].lower()}{message[1:]}" + ("" if private else f" (is {problem['input']!r:.80})")


def _did_you_mean(keys: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Recipe
    for key in keys[:-1]:
        if isinstance(key, str):
            model = _table(model, key) or model
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(keys[-1]), known, 1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known))}"


def _table(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = next((field for name, field in model.model_fields.items() if key in {name, field.alias}), None)
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ()
    return next(
        (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)),
        None,
    )
