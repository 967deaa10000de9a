"""Tables that sort and sift by a little script, and read as cards on a phone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imagekit.inspect.markup import text


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its HTML, and what it sorts by; a number sorts as one."""

    html: str
    key: str | float = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: cells, the words that it is found by, and its value for each choice that it is sifted by."""

    cells: Sequence[Cell]
    words: str
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and whether it holds numbers."""

    title: str
    number: bool = False


def words(content: str) -> Cell:
    """Return a cell of a text."""
    return Cell(text(content), content)


def sifter(name: str, what: str, choices: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield the controls that sift the rows marked with this name; a script shows them, without one they are none.

    `choices` maps each choice to its values.
    """
    yield f'<div class="sifter" role="search" aria-label="Sift {text(what)}" data-rows="{name}" hidden>'
    yield f'<label>Find <input type="search" autocomplete="off" spellcheck="false" aria-controls="{name}"></label>'
    for choice, values in choices.items():
        options = "".join(f'<option value="{text(value)}">{text(value)}</option>' for value in values)
        yield (
            f'<label>{text(choice)} <select data-choice="{text(choice)}" aria-controls="{name}">'
            f'<option value="">all</option>{options}</select></label>'
        )
    yield '<output aria-live="polite"></output></div>'


def grid(name: str, caption: str, columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Yield a table; the roles are said again, as a table that is shown as cards would lose them."""
    yield f'<table class="grid" id="{name}" role="table"><caption class="said">{text(caption)}</caption>'
    heads = "".join(
        f'<th scope="col" role="columnheader" class="{"n" if column.number else ""}">{text(column.title)}</th>'
        for column in columns
    )
    yield f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">'
    for row in rows:
        yield f'<tr role="row"{marks(name, row)}>{"".join(_cells(row, columns))}</tr>'
    yield "</tbody></table>"


def marks(name: str, row: Row) -> str:
    """Return the attributes by which the script finds and sifts an element."""
    chosen = "".join(f' data-{text(choice)}="{text(value)}"' for choice, value in row.choices.items())
    return f' data-row="{name}" data-words="{text(row.words.lower())}"{chosen}'


def _cells(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    for cell, column in zip(row.cells, columns, strict=True):
        kind = "n" if column.number else ""
        yield (
            f'<td role="cell" class="{kind}" data-title="{text(column.title)}" data-key="{text(str(cell.key))}">'
            f"{cell.html}</td>"
        )
