"""Boot menus as text: GRUB Legacy's menu.lst, and as much of GRUB 2's grub.cfg as a small image needs.

GRUB Legacy's manual 0.97 ("Commands") and GRUB 2's manual 2.06 ("Writing your own configuration files"). grub.cfg
is a script; we do not run it: conditions are taken as true, functions as never called, and loops and sourced files
are told as problems.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from typing import Literal

from imagekit.formats.grub_cfg import handed_on
from imagekit.inspect.report import Entry, Menu

LIMIT = 1 << 16
"""Bytes of a boot menu that are read."""

TOP = "(outside every entry)"
"""The title of commands that stand in no entry: they run at once."""

SEARCHED = "(searched for)"
"""The root after a `search`: in small images, where the menu lies."""

SYNTAX = "an `if` or a brace is not closed, or one too many is: GRUB's script language takes none of it"
"""The problem of a grub.cfg that GRUB refuses as a whole."""

_OPEN_QUOTE = "a line has an open quote"

_MOST_ENTRIES = 256
_WORD = re.compile(r"[\s=]+")
_KERNELS = {"linux", "linux16", "linuxefi", "multiboot", "multiboot2", "xen_hypervisor", "chainloader"}
_MODULES = {"module", "module2", "modulenounzip", "initrd", "initrd16", "initrdefi", "xen_module"}
_NOT_RUN = {"source", "configfile", "for", "while", "until"}


@dataclass(slots=True)
class _Draft:
    """A menu that is being read."""

    default: str = "0"
    timeout: int | None = None
    root: str = ""
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def menu(self, path: str, partition: int, dialect: Literal["menu.lst", "grub.cfg"]) -> Menu:
        titles = [entry.title for entry in self.entries]
        if self.default.isdecimal() and len(self.default) < 6:  # noqa: PLR2004
            default = int(self.default)
        else:
            default = titles.index(self.default) if self.default in titles else 0
        if self.entries and default >= len(self.entries):
            self.problems.append(f"default is {default}, but there are {len(self.entries)} entries")
        return Menu(
            path, partition, dialect, default, self.timeout, tuple(self.entries), self.root, tuple(self.problems)
        )


def parse(path: str, partition: int, raw: bytes) -> Menu:
    """Parse a boot menu; `path` ending in .cfg is GRUB 2's, anything else GRUB Legacy's."""
    text = raw[:LIMIT].decode(errors="backslashreplace")
    draft = _Draft()
    if len(raw) >= LIMIT:
        draft.problems.append(f"only the first {LIMIT // 1024} KiB are read")
    if path.endswith(".cfg"):
        _parse_grub_cfg(text, draft)
        return draft.menu(path, partition, "grub.cfg")
    _parse_menu_lst(text, draft)
    return draft.menu(path, partition, "menu.lst")


def _parse_menu_lst(text: str, draft: _Draft) -> None:
    for line in _lines(text):
        command, rest = _split_legacy(line)
        if command == "title":
            if len(draft.entries) == _MOST_ENTRIES:
                return
            draft.entries.append(Entry(rest))
        elif command == "default":
            draft.default = rest
        elif command == "timeout":
            draft.timeout = _number(rest, draft)
        elif draft.entries:
            draft.entries[-1] = _in_legacy_entry(draft.entries[-1], command, rest)


def _split_legacy(line: str) -> tuple[str, str]:
    """Split a command from its argument; a blank or one `=` stands between them."""
    found = _WORD.search(line)
    if found is None:
        return line, ""
    return line[: found.start()], line[found.end() :].strip()


def _in_legacy_entry(entry: Entry, command: str, rest: str) -> Entry:
    if command in {"root", "rootnoverify"}:
        return replace(entry, root="".join(rest.split()[:1]))
    if command == "kernel":
        words = _without_options(rest.split())
        return replace(entry, command=command, kernel="".join(words[:1]), arguments=" ".join(words[1:]))
    return replace(entry, modules=(*entry.modules, rest)) if command in _MODULES else entry


def _parse_grub_cfg(text: str, draft: _Draft) -> None:
    depth, top = 0, Entry(TOP, boots=False)
    inside = skipping = False
    opened = {"if": 0, "{": 0}
    for words in _commands(text, draft):
        command, *rest = words
        _count(words, opened)
        if skipping or command == "function":
            skipping = command != "}"
        elif command in {"menuentry", "submenu"} and rest[-1:] == ["{"]:
            depth += 1
            if command == "menuentry" and len(draft.entries) < _MOST_ENTRIES:
                inside = True
                draft.entries.append(Entry(rest[0] if len(rest) > 1 else ""))
        elif command == "}":
            depth, inside = max(depth - 1, 0), False
        elif command in _NOT_RUN:
            draft.problems.append(f"`{command}` is not followed")
        elif inside:
            draft.entries[-1] = _in_entry(draft.entries[-1], command, rest)
        else:
            _at_top(command, rest, draft)
            top = _in_entry(top, command, rest)
    if any(opened.values()) and len(text) < LIMIT and _OPEN_QUOTE not in draft.problems:
        draft.problems.append(SYNTAX)
    draft.root = top.root
    if not draft.entries and top.kernel:
        draft.entries.append(top)


def _count(words: list[str], opened: dict[str, int]) -> None:
    """Count a command's blocks that open, and those that close."""
    opened["if"] += (words[0] == "if") - (words[0] == "fi")
    opened["{"] += (words[-1] == "{") - (words[0] == "}")


def _in_entry(entry: Entry, command: str, rest: list[str]) -> Entry:
    plain = _without_options(rest) if command in _KERNELS else rest
    if command in {"set", "root"} and rest and rest[0].startswith("root="):
        return replace(entry, root=rest[0].removeprefix("root="))
    if command.startswith("root="):
        return replace(entry, root=command.removeprefix("root="))
    if command == "search":
        return replace(entry, root=SEARCHED)
    if command in _KERNELS and plain:
        return replace(
            entry, command=command, kernel=plain[0], arguments=" ".join(map(handed_on, plain[1:])), modules=()
        )
    if command in _MODULES and rest:
        return replace(entry, modules=(*entry.modules, " ".join(rest)))
    return replace(entry, boots=True) if command == "boot" else entry


def _without_options(words: list[str]) -> list[str]:
    """Return a kernel's path and arguments: options of the command itself stand before the path."""
    return list(dropwhile(lambda word: word.startswith("--"), words))


def _at_top(command: str, rest: list[str], draft: _Draft) -> None:
    assignment = "".join(rest[:1]) if command == "set" else command
    name, _, value = assignment.partition("=")
    if name == "timeout":
        draft.timeout = _number(value, draft)
    elif name == "default":
        draft.default = value


def _commands(text: str, draft: _Draft) -> Iterator[list[str]]:
    """Yield a script's commands as words; quotes are GRUB's, which are the shell's."""
    for line in _lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError:
            draft.problems.append(_OPEN_QUOTE)
            words = line.split()
        command: list[str] = []
        for word in (*words, ";"):
            ends = bool(word) and not word.strip(";")  # '' is an argument
            if word == "{" or not (ends or word == "}"):
                command.append(word)
            if word in {"{", "}"} or ends:
                command = command[1:] if command[:1] in (["then"], ["else"], ["do"]) else command
                yield from filter(None, (command, ["}"] if word == "}" else []))
                command = []


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _number(text: str, draft: _Draft) -> int | None:
    try:
        return int(text[:9])
    except ValueError:
        draft.problems.append(f"timeout is no number: {text[:40]}")
        return None
