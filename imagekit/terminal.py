"""What a guest wrote on its console, as text that no terminal obeys."""

import re

LAST = 20
"""Lines of a console that are shown."""

_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()].|[=>78])|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return what a terminal would show, roughly: without control sequences."""
    return _CONTROL.sub("", text)


def last_lines(said: bytes) -> str:
    """Return the last lines of what was said, plain; "" for nothing."""
    lines = (line.rstrip() for line in plain(said.decode(errors="backslashreplace")).splitlines())
    return "\n".join([line for line in lines if line][-LAST:])
