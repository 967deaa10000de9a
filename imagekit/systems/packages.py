"""Which packages the mirrors have today: a digest of each suite's lists, as its signed InRelease tells it.

The file itself changes several times a day, with its date. What a tree is made from are the lists of packages that
it names by SHA-256 (Debian's repository format, "Release" files), so those make up the digest.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imagekit.errors import TryAgainError

_TIMEOUT = 10  # seconds
_LARGEST = 4 << 20  # bytes; Debian's are of 150 KB
Fetch = Callable[[str], bytes]


def apt_lines(conf: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield URI, suite and components of each line of DIB_APT_SOURCES_CONF: `name:deb URI suite component…`."""
    for line in conf.splitlines():
        match = re.match(r"\s*[^:\s]+:\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*(.*)", line)
        if match:
            yield match[1].rstrip("/"), match[2], tuple(match[3].split())


def digests(conf: str, memory: Path, fetch: Fetch | None = None) -> tuple[dict[str, str], list[str]]:
    """Return for each suite the digest of its lists, and those mirrors that did not answer.

    For these the digest of last time stands in, kept in the folder `memory`; TryAgainError when there is none.
    """
    fetch = fetch or _fetched
    found: dict[str, str] = {}
    silent: list[str] = []
    for uri, suite, components in apt_lines(conf):
        name = f"{uri} {suite}"
        kept = memory / hashlib.sha256(f"{name} {' '.join(components)}".encode()).hexdigest()
        try:
            text = fetch(f"{uri}/dists/{suite}/InRelease").decode(errors="replace")
            found[name] = lists_digest(text, components)
            memory.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found[name]))
        except OSError as error:
            if not kept.exists():
                raise TryAgainError(
                    f"{uri} does not answer: which packages {suite} has is not known",
                    details=str(error),
                    hint="DIB_DISTRIBUTION_MIRROR and DIB_DEBIAN_SECURITY_MIRROR name others",
                ) from error
            found[name] = json.loads(kept.read_bytes())
            silent.append(uri)
    return found, list(dict.fromkeys(silent))


def lists_digest(release: str, components: Sequence[str]) -> str:
    """Return the digest of the lists of packages for amd64 that a Release file names; of all where none fit."""
    section = re.search(r"^SHA256:[ \t]*\n((?:[ \t]+.*\n?)+)", release, re.MULTILINE)
    lines = [line.split() for line in (section[1] if section else "").splitlines()]
    files = sorted((words[2], words[0]) for words in lines if len(words) == len(("digest", "size", "name")))
    wanted = [
        (name, digest)
        for name, digest in files
        if re.search(r"(^|/)binary-(amd64|all)/Packages(\.\w+)?$", name)
        and (not components or any(f"/{name}".find(f"/{component}/") >= 0 for component in components))
    ]
    return hashlib.sha256(json.dumps(wanted or files or release).encode()).hexdigest()


def _fetched(url: str) -> bytes:
    from urllib.request import urlopen  # noqa: PLC0415 -- 30 ms, for trees of packages only

    with urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 -- http or https, by apt's own rules
        data: bytes = answer.read(_LARGEST)
    return data
