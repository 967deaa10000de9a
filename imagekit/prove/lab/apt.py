"""Packages by apt, with a state of our own: nothing is installed, and root is not needed.

Sources, keyrings and preferences are the system's, so signatures are checked as it checks them.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from imagekit.command import Completed, run
from imagekit.errors import ToolError
from imagekit.prove.lab.debs import Deb, missing
from imagekit.prove.lab.names import KERNEL

_CONFIGURATION = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root"; // else apt, run by root, cannot write here as _apt
Acquire::Languages "none";
Acquire::Retries "2";
// What the system does after an update is about the system's state.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
_TIMEOUT = 900  # seconds; 70 MB come at 80 kB/s by then
_URI = re.compile(r"^'[^']*' (\S+) \d+ SHA256:([0-9a-f]{64})$", re.MULTILINE)
_LACKING = re.compile(
    r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate)$", re.MULTILINE
)
_KERNEL = re.compile(r"^\s+Depends: (linux-image-\S+-amd64)$", re.MULTILINE)


class Apt:
    """apt in a folder of its own; `etc` is /etc/apt unless given.

    `packages` are asked for by name; `kernel` is the one that stands for another.
    """

    def __init__(
        self, folder: Path, packages: tuple[str, ...], etc: Path | None = None, *, kernel: str = KERNEL
    ) -> None:
        self._packages, self._meta = packages, kernel
        self._folder = folder.absolute()
        self._configuration = self._folder / "apt.conf"
        for part in ("state/lists/partial", "cache/archives/partial", "debs"):
            (self._folder / part).mkdir(parents=True)
        (self._folder / "status").touch()
        self._configuration.write_text(
            _CONFIGURATION.format(folder=self._folder) + (f'Dir::Etc "{etc.absolute()}";\n' if etc else "")
        )

    def wanted(self) -> tuple[Deb, ...]:
        """Ask the sources what they have now."""
        update = self._apt("apt-get", "update", "-q", ok=(0, 100))
        names = [self._kernel(update), *(name for name in self._packages if name != self._meta)]
        listed = self._apt("apt-get", "download", "-q", "--print-uris", *names, ok=(0, 100))
        debs = tuple(_deb(file, digest) for file, digest in _URI.findall(listed.text()))
        if listed.status or {deb.name for deb in debs} != set(names):
            raise self._missing(set(names) - {deb.name for deb in debs}, listed, update)
        return debs

    def fetch(self, debs: Iterable[Deb]) -> list[Path]:
        """Download them; apt checks their digests."""
        where = self._folder / "debs"
        debs = tuple(debs)
        self._apt("apt-get", "download", "-q", *(f"{deb.name}={deb.version}" for deb in debs), cwd=where)
        if absent := [deb.file for deb in debs if not (where / deb.file).is_file()]:
            raise ToolError("apt-get download did not bring all", details="\n".join(absent))
        return [where / deb.file for deb in debs]

    def _kernel(self, update: Completed) -> str:
        said = self._apt("apt-cache", "depends", "--important", self._meta, ok=(0, 100))
        found = _KERNEL.search(said.text())
        if found is None:
            asked = self._apt("apt-get", "download", "-q", "--print-uris", *self._packages, ok=(0, 100))
            raise self._missing({self._meta}, asked, update)
        return found[1]

    def _missing(self, names: set[str], said: Completed, update: Completed) -> ToolError:
        told = {first or second for first, second in _LACKING.findall(said.stderr.decode(errors="replace"))}
        # `update` succeeds when a source cannot be reached; its words are the reason then.
        return missing(told or names, "apt's sources", update.complaint() if update.stderr else said.complaint())

    def _apt(
        self, program: str, *arguments: str, cwd: Path | None = None, ok: tuple[int, ...] = (0,)
    ) -> Completed:
        where = cwd or self._folder
        return run(program, "-c", self._configuration, *arguments, cwd=where, ok=ok, timeout=_TIMEOUT)


def _deb(file: str, digest: str) -> Deb:
    name, version, _ = file.split("_")
    return Deb(name, unquote(version), digest, file)
