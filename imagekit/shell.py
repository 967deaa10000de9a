"""guestfish on an image, with what it needs said: the format, the appliance, and where the root lies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from imagekit.appliance import environment, options, swept
from imagekit.artifact import SUFFIX, Sidecar
from imagekit.command import attached
from imagekit.errors import ToolError, UsageError
from imagekit.filesystem.guestfs import mount_options
from imagekit.programs import require
from imagekit.unwrap import Form, form_of, unwrapped
from imagekit.verify import Claims, mounts

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Opened:
    """A raw disk, what is mounted where (device, path), and what its sidecar claims."""

    disk: Path
    mounts: Sequence[tuple[str, str]]
    claims: Claims | None


@contextmanager
def opened(path: Path, *, write: bool = False, private_key: Path | None = None) -> Iterator[Opened]:
    """Lend the disk of an image (raw, VHD, XVA, .tgz, bundle) and tell where its file systems lie.

    By its sidecar or, without one, by its partition table. UsageError for what is no file, and for `write` to
    what is not raw; VerificationError for what is damaged.
    """
    require("guestfish")
    main = path.with_name(path.name.removesuffix(SUFFIX)) if path.name.endswith(SUFFIX) else path
    if not main.is_file():
        raise UsageError(f"{main} is no file", hint="name an artifact's main file, or a raw disk")
    form = form_of(main)
    if form is Form.VM_KERNEL:
        raise UsageError(f"{main} holds a kernel for Qubes' dom0, and no disk")
    if write and form is not Form.RAW:
        raise UsageError(
            f"{main} is written to only when it is raw, and it is of the form {form.value}",
            hint="imagekit convert makes a raw disk of it, and a VHD of that",
        )
    sidecar = Sidecar.read(main)
    claims = Claims.of(sidecar) if sidecar is not None else None
    with unwrapped(main, private_key) as disk:
        yield Opened(disk, mounts(disk, claims), claims)


def run(image: Opened, commands: Sequence[str] = (), *, write: bool = False, terminal: str = "dumb") -> None:
    """Run guestfish with our own stdin, stdout and stderr, or these commands; `terminal` is what TERM says.

    ToolError when it, or one of the commands, fails: what it said is on stderr.
    """
    with swept(), TemporaryDirectory(prefix="imagekit-shell-") as name:
        folder = Path(name)
        arguments = [*options(image.disk, write=write), *_mounted(image, write=write)]
        if commands:
            script = folder / "commands"
            script.write_text("".join(f"{command}\n" for command in commands))
            arguments += ["-f", str(script)]
        told: Mapping[str, str] = {**environment(folder), "TERM": terminal}
        status = attached("guestfish", *arguments, env=told)
    if status:
        raise ToolError(f"guestfish ended with status {status}", hint="what it says is above")


def _mounted(image: Opened, *, write: bool) -> Iterator[str]:
    for device, place in image.mounts:
        kind = image.claims.layout.filesystem.type if image.claims is not None and place == "/" else ""
        told = ",".join(filter(None, (mount_options(kind), "" if write else "ro")))
        yield "-m"
        yield f"{device}:{place}:{told}" if told else f"{device}:{place}"
