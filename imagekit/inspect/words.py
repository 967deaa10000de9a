"""Words for people: sizes, counts, and texts of an image made safe to show."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


def shown(text: str) -> str:
    """Return a text with all that does not print, controls and direction marks above all, escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size(count: int) -> str:
    """Return bytes in the unit that reads best, `1.5 MiB`."""
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    if not unit or value == int(value):
        return f"{int(value):,} {_UNITS[unit]}"
    return f"{value:,.1f} {_UNITS[unit]}"


def several(count: int, one: str, many: str = "") -> str:
    """Return `1 file`, `2 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
