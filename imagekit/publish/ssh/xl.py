"""xl on a host, and what it says of domains.

Facts: Xen's tools/xl (xl_info.c for `vm-list`, xl_vmcontrol.c for create and its log), tools/console/client:
without a terminal `xl console` only shows.
"""

import re
from dataclasses import dataclass
from time import monotonic

import paramiko

from imagekit.errors import KernelError, PublishError, ToolError
from imagekit.publish.ssh.connection import Host
from imagekit.terminal import last_lines

_LINE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s+(\d+)\s+(\S*)")
_LOG = '"${XEN_LOG_DIR:-/var/log/xen}"'
_ENDED = re.compile(r"Domain (\d+) has shut down, reason code (\d+)")
_POWERED_OFF = 0
_REASONS = {1: "it asked for a reboot", 2: "it was suspended", 3: "it crashed", 4: "its watchdog ended it"}
_MOST = 1 << 20  # bytes of a console that are kept
# It would stay behind, and take the console's next words for itself.
_CONSOLE = """
command -v timeout >/dev/null && exec timeout "$2" xl console "$1" 2>/dev/null
exec xl console "$1" 2>/dev/null
"""
_CAPABILITIES = {"pv": "xen-3.0-{0}", "pvh": "hvm-3.0-", "hvm": "hvm-3.0-"}
_NAMES = {"x86_64": "x86_64", "i386": "x86_32p"}


@dataclass(frozen=True)
class Running:
    """A domain that is there."""

    uuid: str
    domid: int
    name: str


@dataclass(frozen=True)
class End:
    """How a domain ended: by itself, with its work done, or else why."""

    clean: bool
    why: str


class Xl:
    """xl on one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, guest: str, architecture: str) -> None:
        """See that it is there, and that its Xen starts such guests; KernelError (exit 3) when it does not."""
        said = self._host.run("xl info")
        if said.status:
            raise ToolError(
                f"{self._host.address.named}: xl does not work there",
                details=said.err.strip(),
                hint="it takes root in dom0 of a Xen host; without --start the files are only placed",
            )
        wanted = _CAPABILITIES.get(guest, "").format(_NAMES.get(architecture, architecture))
        can = next((line for line in said.out.splitlines() if line.startswith("xen_caps")), "")
        if can and wanted not in can:
            raise KernelError(
                f"{self._host.address.named} starts no {guest.upper()} guest of {architecture}", details=can[:200]
            )

    def domains(self) -> list[Running]:
        """Return all domains."""
        said = self._host.checked("xl vm-list", "xl vm-list")
        found = (_LINE.match(line.strip()) for line in said.splitlines())
        return [Running(one[1], int(one[2]), one[3]) for one in found if one]

    def by_uuid(self, uuid: str) -> Running | None:
        """Return the domain of a UUID."""
        return next((one for one in self.domains() if one.uuid == uuid), None)

    def by_name(self, name: str) -> Running | None:
        """Return the domain of a name."""
        return next((one for one in self.domains() if one.name == name), None)

    def create(self, configuration: str) -> None:
        """Create a domain, paused."""
        self._host.checked(f"xl create {configuration}", 'xl create -p "$1"', configuration)

    def destroy(self, domain: Running) -> None:
        """Destroy a domain; one that is gone meanwhile is none to destroy."""
        said = self._host.run('xl destroy "$1"', str(domain.domid))
        if said.status and self.by_uuid(domain.uuid):
            raise PublishError(
                f"{self._host.address.named}: {domain.name} cannot be destroyed", details=said.err.strip()
            )

    def step_aside(self, domain: Running, name: str) -> None:
        """Pause a domain, under another name."""
        script = 'xl pause "$1" && xl rename "$1" "$2"'
        self._host.checked(f"renaming {domain.name}", script, str(domain.domid), name)

    def step_back(self, domain: Running, name: str) -> None:
        """Let a domain go on, under its own name."""
        script = 'xl rename "$1" "$2"; xl unpause "$1"'
        self._host.checked(f"bringing {name} back", script, str(domain.domid), name)

    def watch(self, domain: Running, seconds: float) -> tuple[End | None, str]:
        """Unpause a domain and watch it so long; return how it ended, if it did, and its console's last lines."""
        with self._host.following(_CONSOLE, str(domain.domid), str(int(seconds))) as console:
            self._host.checked(f"xl unpause {domain.name}", 'xl unpause "$1"', str(domain.domid))
            said = _heard(console, seconds)
        end = self._end_of(domain)
        return end, last_lines(said)

    def _end_of(self, domain: Running) -> End | None:
        alive = self.by_uuid(domain.uuid)
        log = self._host.run(f'tail -n 50 {_LOG}/xl-"$1".log', domain.name).out
        codes = [int(code) for domid, code in _ENDED.findall(log) if int(domid) == domain.domid]
        if not codes:
            return None if alive else End(clean=False, why="it is gone, and xl's log has no word of it")
        return End(clean=codes[-1] == _POWERED_OFF, why=_REASONS.get(codes[-1], f"reason code {codes[-1]}"))


def _heard(console: paramiko.Channel, seconds: float) -> bytes:
    """Return what a console says until it ends, or the time is over."""
    heard = b""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        console.settimeout(left)
        try:
            data = console.recv(4096)
        except TimeoutError:
            break
        if not data:
            break
        heard = (heard + data)[-_MOST:]
    return heard
