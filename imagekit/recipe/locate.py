"""The line of a key in a TOML text, for error messages: tomllib keeps no positions."""

import tomllib
from collections.abc import Iterator

import tree_sitter
import tree_sitter_toml

Path = tuple[str | int, ...]


def line_of(text: str, keys: Path, *, whole: bool = False) -> int | None:
    """Return the line, from 1, of the deepest part of `keys` that the text holds; None where it must be all."""
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language())).parse(text.encode())
    lines = dict(reversed(list(_places(tree.root_node))))
    for depth in range(len(keys), len(keys) - 1 if whole else 0, -1):
        if keys[:depth] in lines:
            return lines[keys[:depth]]
    return None


def _places(document: tree_sitter.Node) -> Iterator[tuple[Path, int]]:
    counts: dict[Path, int] = {}
    for node in document.named_children:
        prefix: Path = ()
        children = node.named_children
        if node.type in {"table", "table_array_element"}:
            prefix = _numbered(_names(children[0]), counts)
            if node.type == "table_array_element":
                number = counts.get(prefix, -1) + 1
                counts[prefix] = number
                prefix = (*prefix, number)
            yield from _reached(prefix, 0, node)
            children = children[1:]
        for pair in children if node.type != "pair" else [node]:
            yield from _pair(pair, prefix)


def _pair(node: tree_sitter.Node, prefix: Path) -> Iterator[tuple[Path, int]]:
    if node.type != "pair":
        return
    key, value = node.named_children[:2]  # a comment may follow
    path = (*prefix, *_names(key))
    yield from _reached(path, len(prefix), key)
    yield from _inside(value, path)


def _reached(path: Path, known: int, node: tree_sitter.Node) -> Iterator[tuple[Path, int]]:
    """Yield what a node names, and the tables on the way there, which have perhaps no line of their own."""
    for depth in range(known + 1, len(path) + 1):
        yield path[:depth], node.start_point[0] + 1


def _inside(value: tree_sitter.Node, path: Path) -> Iterator[tuple[Path, int]]:
    if value.type == "inline_table":
        for pair in value.named_children:
            yield from _pair(pair, path)
    elif value.type == "array":
        items = [item for item in value.named_children if item.type != "comment"]
        for number, item in enumerate(items):
            yield (*path, number), item.start_point[0] + 1
            yield from _inside(item, (*path, number))


def _numbered(names: Path, counts: dict[Path, int]) -> Path:
    """Put in the index of the array element that a table below `[[…]]` belongs to."""
    path: Path = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path])
    return (*path, names[-1])


def _names(key: tree_sitter.Node) -> Path:
    if key.type == "dotted_key":
        return tuple(name for child in key.named_children for name in _names(child))
    # A key may be quoted, with escapes.
    return tuple(tomllib.loads(f"{(key.text or b'').decode()} = 0"))
