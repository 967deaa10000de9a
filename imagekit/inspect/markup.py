"""What pages are made of: the frame with its policy, sections, lists, tables; all text of others is escaped here.

Every text goes through `text`. Should that ever fail, the page's own policy still forbids any script but ours,
which is named by its hash, and any request.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from imagekit.inspect.words import shown


def asset(name: str, package: str = "imagekit.inspect") -> str:
    """Return a style or a script that lies in a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def page(title: str, style: str, script: str, body: Iterable[str]) -> str:
    """Return a whole page; `body` is HTML, `title` a text."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>",
            f"<style>{style}</style></head><body><main>",
            *body,
            f"</main><script>{script}</script></body></html>\n",
        )
    )


def section(title: str, *content: str) -> Iterator[str]:
    """Yield a section; title and content are HTML."""
    yield f"<section><h2>{title}</h2>"
    yield from content
    yield "</section>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values, which are texts, as a list."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in pairs)}</dl>"


def rows(
    titles: Sequence[str], content: Iterable[Sequence[str]], numbers: int = 0, words: int = 0, style: str = ""
) -> str:
    """Return a table of cells that are HTML; the first `numbers` columns, or all after `words`, are numbers."""
    aligned = ["n" if index < numbers or (words and index >= words) else "" for index in range(len(titles))]
    head = "".join(
        f'<th scope="col" class="{side}">{title}</th>' for title, side in zip(titles, aligned, strict=True)
    )
    body = "".join(f"<tr>{_cells(row, aligned)}</tr>" for row in content)
    table = f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _cells(row: Sequence[str], aligned: Sequence[str]) -> str:
    return "".join(f'<td class="{side}">{cell}</td>' for cell, side in zip(row, aligned, strict=True))


def problems(found: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong, in texts."""
    for problem in found:
        yield f'<p class="problem"><strong>Problem</strong> {text(problem)}</p>'


def text(words: str) -> str:
    """Return a text as HTML, fit for an attribute, too; what does not print is told as an escape."""
    return escape(shown(words))
