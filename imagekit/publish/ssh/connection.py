"""A connection to a host: scripts run by its shell, files by SFTP. Whom known_hosts does not know is refused."""

import base64
import hashlib
import logging
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import paramiko

from imagekit.errors import PublishError
from imagekit.publish.ssh.address import PORT, Address, address_of

_CONNECT, _BANNER, _SIGN_IN, _ALIVE = 10, 20, 30, 15  # seconds
_PATIENCE = 600.0  # of a script, between two words
_LONGEST = 4 << 20  # bytes that a script may say
_JUMPS = 8
# What is run is read as a whole before it begins: half a script, from a connection that broke, does nothing.
_HEAD = "set -u\nLC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\nexport LC_ALL PATH\nmain() {\n"
_TAIL = '\n}\nmain "$@" </dev/null\n'


class LostError(PublishError):
    """The connection broke: to try again may help."""


@dataclass(frozen=True)
class Said:
    """What a script answered."""

    status: int
    out: str
    err: str


class Host:
    """A host that one is signed in to."""

    def __init__(self, address: Address, client: paramiko.SSHClient) -> None:
        self.address = address
        self._client = client
        self._files: paramiko.SFTPClient | None = None

    def run(self, script: str, *arguments: str) -> Said:
        """Run a script of the POSIX shell, its arguments in $1, $2…, and return what it said."""
        with self.lost(), self._running(script, arguments) as channel:
            out, err = channel.makefile("rb"), channel.makefile_stderr("rb")
            said = out.read(_LONGEST)
            complaint = err.read(_LONGEST)
            status = channel.recv_exit_status()
        if status < 0:  # it has none: the channel was closed
            raise LostError(f"{self.address.named}: the connection broke", details="in the middle of a script")
        return Said(status, said.decode(errors="replace"), complaint.decode(errors="replace"))

    def checked(self, what: str, script: str, *arguments: str) -> str:
        """Run a script that has to succeed, and return what it said; PublishError when it does not."""
        said = self.run(script, *arguments)
        if said.status:
            raise PublishError(
                f"{self.address.named}: {what} failed", details=said.err.strip() or said.out.strip()
            )
        return said.out

    @contextmanager
    def following(self, script: str, *arguments: str) -> Iterator[paramiko.Channel]:
        """Lend the channel of a script that goes on meanwhile."""
        with self.lost(), self._running(script, arguments) as channel:
            yield channel

    def close(self) -> None:
        """Break the connection: whoever waits for it gets a LostError."""
        self._client.close()

    @contextmanager
    def files(self) -> Iterator[paramiko.SFTPClient]:
        """Lend the host's files."""
        with self.lost():
            if self._files is None:
                self._files = self._open_files()
            yield self._files

    def _open_files(self) -> paramiko.SFTPClient:
        try:
            files = self._client.open_sftp()
        except paramiko.ChannelException as error:
            raise PublishError(
                f"{self.address.named} has no SFTP", details=str(error), hint="sshd_config: Subsystem sftp"
            ) from error
        except paramiko.SFTPError as error:
            raise PublishError(
                f"{self.address.named} does not speak SFTP",
                details=str(error),
                hint="the start-up files of the user's shell must print nothing",
            ) from error
        channel = files.get_channel()
        if channel is not None:
            channel.settimeout(_PATIENCE)
        return files

    def channel_to(self, host: str, port: int) -> paramiko.Channel:
        """Return a channel that the host connects to another."""
        transport = self._client.get_transport()
        with self.lost():
            if transport is None:
                raise EOFError("it is closed")
            return transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=_CONNECT)

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Turn what a broken connection raises into LostError."""
        try:
            yield
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, ConnectionError, TimeoutError) as error:
            raise LostError(
                f"{self.address.named}: the connection broke", details=str(error) or type(error).__name__
            ) from error
        except OSError as error:
            if str(error) != "Socket is closed":
                raise
            raise LostError(f"{self.address.named}: the connection broke", details=str(error)) from error

    @contextmanager
    def _running(self, script: str, arguments: tuple[str, ...]) -> Iterator[paramiko.Channel]:
        transport = self._client.get_transport()
        if transport is None:
            raise EOFError("it is closed")
        with transport.open_session(timeout=_SIGN_IN) as channel:
            channel.settimeout(_PATIENCE)
            channel.exec_command(" ".join(["exec sh -s --", *map(shlex.quote, arguments)]))
            channel.sendall((_HEAD + script + _TAIL).encode())
            channel.shutdown_write()
            yield channel


@contextmanager
def connected(named: str, environment: Mapping[str, str]) -> Iterator[Host]:
    """Lend a host, signed in to; PublishError when it cannot be reached, or is not who known_hosts says."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its errors come as exceptions, too
    with ExitStack() as stack:
        yield _connect(named, environment, stack, _JUMPS)


def _connect(named: str, environment: Mapping[str, str], stack: ExitStack, jumps: int) -> Host:
    address = address_of(named, environment)
    client = stack.enter_context(paramiko.SSHClient())
    _trust(client, address)
    try:
        client.connect(
            address.host,
            port=address.port,
            username=address.user,
            key_filename=cast("Any", [str(path) for path in address.keys if path.exists()]),
            allow_agent=not address.only_these_keys,
            look_for_keys=False,
            sock=_way(address, environment, stack, jumps),
            timeout=_CONNECT,
            banner_timeout=_BANNER,
            auth_timeout=_SIGN_IN,
            transport_factory=_transport,
        )
    except paramiko.BadHostKeyException as error:
        raise _changed(address, error.key) from error
    except paramiko.PasswordRequiredException as error:
        raise _unknown_user(address, "a key has a passphrase, and no agent holds it") from error
    except paramiko.AuthenticationException as error:
        raise _unknown_user(address, str(error)) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise LostError(
            f"{named} cannot be reached",
            details=f"{address.host} port {address.port}: {str(error) or type(error).__name__}",
        ) from error
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(_ALIVE)
    return Host(address, client)


def _transport(*over: Any, **settings: Any) -> paramiko.Transport:  # noqa: ANN401 -- paramiko's
    """Return a transport that prefers AES-GCM: one pass over the data, where AES-CTR takes another for its sum."""
    made = paramiko.Transport(*over, **settings)
    options = made.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    return made


def _way(address: Address, environment: Mapping[str, str], stack: ExitStack, jumps: int) -> Any:  # noqa: ANN401
    """Return what the connection goes over: another host's channel, a command, or TCP."""
    if address.jump and address.jump != "none":
        if not jumps:
            raise PublishError(f"{address.named} is behind hosts that are behind each other", hint="ProxyJump")
        *before, last = address.jump.split(",")
        if before:
            raise PublishError(
                f"{address.named} has several hosts in one ProxyJump",
                hint="give each the ProxyJump to the one before it",
            )
        client = _connect(
            last if "@" in last or ":" not in last else f"ssh://{last}", environment, stack, jumps - 1
        )
        return _Behind(client.channel_to(address.host, address.port))
    if address.command and address.command != "none":
        return stack.enter_context(_closing(paramiko.ProxyCommand(address.command)))
    over = stack.enter_context(socket.create_connection((address.host, address.port), _CONNECT))
    over.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every small request waits for 40 ms
    return over


class _Behind:
    """A channel to a host behind another, which may be closed when the way to it is gone already.

    Paramiko's own thread closes it, and would end with a traceback.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- paramiko takes it for a socket
        return getattr(self._channel, name)

    def close(self) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


@contextmanager
def _closing(command: paramiko.ProxyCommand) -> Iterator[paramiko.ProxyCommand]:
    try:
        yield command
    finally:
        with suppress(OSError, paramiko.SSHException):
            command.close()


def _trust(client: paramiko.SSHClient, address: Address) -> None:
    """Give the client the keys that known_hosts has of this host, and have it refuse every other."""
    client.set_missing_host_key_policy(_Refuse(address))
    trusted, revoked = client.get_host_keys(), set()
    for path in address.known_hosts:
        for marker, known in _known_keys(path):
            for key in (known.lookup(address.entry) or {}).values():
                if marker == "@revoked":
                    revoked.add(key.asbytes())
                elif not marker and key.asbytes() not in revoked:
                    trusted.add(_shown(address), key.get_name(), key)


def _known_keys(path: Path) -> Iterator[tuple[str, paramiko.HostKeys]]:
    """Yield marker and key of each line, the revoked ones first; lines that cannot be read are left out."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in sorted(lines, key=lambda one: not one.startswith("@revoked")):
        marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
        known = paramiko.HostKeys()
        with suppress(paramiko.SSHException, ValueError):
            entry = paramiko.hostkeys.HostKeyEntry.from_line(rest.strip())
            if entry is not None and not rest.startswith("#"):
                for name in entry.hostnames:
                    known.add(name, entry.key.get_name(), entry.key)
        yield marker, known


def _shown(address: Address) -> str:
    """Return the name that paramiko looks a host up by."""
    return address.host if address.port == PORT else f"[{address.host}]:{address.port}"


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Refuses a host that known_hosts does not name, and says how to make it known."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        address = self._address
        raise PublishError(
            f"{address.named} is not in known_hosts: it could be anybody",
            details=f"its key is {key.get_name()} {fingerprint(key)}",
            hint=f"compare that with what `ssh-keygen -lf` says on the host; then: "
            f"ssh-keyscan -p {address.port} {address.host} >> {_file(address)}",
        )


def _changed(address: Address, key: paramiko.PKey) -> PublishError:
    return PublishError(
        f"{address.named} is not who known_hosts says: its key is another one",
        details=f"its key is {key.get_name()} {fingerprint(key)}",
        hint=f"if the host was installed anew: ssh-keygen -R '{address.entry}' -f {_file(address)}",
    )


def _unknown_user(address: Address, why: str) -> PublishError:
    keys = [str(path) for path in address.keys if path.exists()]
    return PublishError(
        f"{address.named} does not let {address.user} in",
        details=f"{why}; keys: {', '.join(keys) or 'no file'}",
        hint="ssh-add KEY, or IdentityFile and User in ~/.ssh/config; USER@HOST names another user",
    )


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _file(address: Address) -> Path:
    return address.known_hosts[0] if address.known_hosts else Path("~/.ssh/known_hosts")
