"""The machine's own apt sources: which mirrors it takes Debian from.

Both forms of sources.list(5): a line an entry (`deb [options] URI suite component…`), deb822 stanzas (*.sources).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?:\s+(?P<components>[^#]*))?")
# What a chroot can fetch from as well. Whoever names a user there names a password: it would end up in the tree.
_USABLE = re.compile(r"https?://[^@\s]+")
_YES = {"yes", "true", "on", "1", "with", "enable"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One suite of one archive."""

    uri: str
    suite: str
    components: tuple[str, ...]


def entries(apt: Path = Path("/etc/apt")) -> list[Entry]:
    """Return the binary archives that apt is told of, in apt's order; what cannot be read is left out."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found: list[Entry] = []
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if file.suffix == ".list":
            found += one_line(text)
        elif file.suffix == ".sources":
            found += deb822(text)
    return found


def one_line(text: str) -> Iterator[Entry]:
    """Yield the entries of a text of lines."""
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match and _USABLE.fullmatch(match["uri"]):
            yield Entry(match["uri"].rstrip("/"), match["suite"], tuple((match["components"] or "").split()))


def deb822(text: str) -> Iterator[Entry]:
    """Yield the entries of deb822 stanzas; a stanza that is not enabled has none."""
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(line for line in text.splitlines() if line[:1] != "#")):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() not in _YES:
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                if _USABLE.fullmatch(uri):
                    yield Entry(uri.rstrip("/"), suite, tuple(fields.get("components", "").split()))


def _fields(stanza: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in {" ", "\t"}:
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def mirrors(release: str, own: str, known: list[Entry]) -> tuple[str | None, str | None]:
    """Return the archive and the security archive for a release of Debian; None for what is not told here.

    An archive has all releases, so that of the machine's `own` one serves for others.
    """

    def of(*suites: str) -> str | None:
        return next((entry.uri for suite in suites for entry in known if entry.suite == suite), None)

    security = of(f"{release}-security", f"{release}/updates", f"{own}-security", f"{own}/updates")
    return of(release, own), security


def own_release(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the code name of the Debian that runs here; "" for another system."""
    try:
        lines = os_release.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    words = dict(line.replace('"', "").partition("=")[::2] for line in lines)
    return words.get("VERSION_CODENAME", "") if words.get("ID") == "debian" else ""
