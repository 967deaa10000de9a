"""How a qube comes to be: the commands that Qubes' dom0 runs, and the text beside an artifact that tells them.

QubesOS/qubes-core-admin-client, doc/manpages (qvm-create, qvm-features, qvm-run, qvm-volume); what a property may
hold is from qubes-core-admin: qubes/vm/__init__.py (`validate_name`), qubes/vm/qubesvm.py (`_setter_kernelopts`),
qubes/__init__.py (`property.sanitize`).
"""

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from imagekit.errors import UnsuitedError
from imagekit.formats.vm_kernel import PLACE
from imagekit.recipe.devices import QUBE, QUBE_WORDS

PVH_GRUB = "pvgrub2-pvh"
"""The kernel in dom0 that looks for /boot/grub/grub.cfg on a qube's disks; the package is grub2-xen-pvh."""

_RESERVED = {"Domain-0", "dom0", "none", "default"}
_KERNELOPTS = 512
_WIDTH = 100
_APP = "-app"
# R4.0's `start_qrexec_daemon` waits for the agent of any qube but an HVM; later ones where the feature is set.
_NO_AGENT = {"qrexec": ""}

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Qube:
    """A qube: `memory` in MiB; `kernel` names a folder in dom0; `netvm` None is Qubes' default, "" none."""

    name: str
    mode: Literal["pv", "pvh"]
    kernel: str
    memory: int
    vcpus: int
    kernelopts: str = ""
    label: str = "red"
    netvm: str | None = None
    provides_network: bool = False
    features: Mapping[str, str] = field(default_factory=dict)


def check_name(name: str) -> None:
    """UnsuitedError for a name that no qube may have."""
    if not re.fullmatch(QUBE, name) or name in _RESERVED or name.endswith("-dm"):
        raise UnsuitedError(
            f"no qube may be called {name!r}",
            details=f"{QUBE_WORDS}; none of Qubes' own",
            hint="qubes.name names it",
        )


def check_kernelopts(text: str) -> None:
    """UnsuitedError for a command line that dom0 does not take."""
    hint = 'qubes.format = "template" has it in a boot menu, and not in dom0'
    if len(text) > _KERNELOPTS:
        details = f"this one has {len(text)}"
        raise UnsuitedError(f"Qubes takes {_KERNELOPTS} characters of a command line", details=details, hint=hint)
    if not (text.isascii() and text.isprintable()):
        raise UnsuitedError("Qubes takes printable ASCII for a command line", details=repr(text)[:200], hint=hint)


def check_file(name: str) -> None:
    """UnsuitedError for the name of an artifact that the commands could not say to both qubes' shells."""
    if name.startswith("-") or not name.isprintable() or set(name) & set("'\\"):
        raise UnsuitedError(
            f"the commands for dom0 cannot name the file {name!r}",
            details="a name without quote, backslash and control characters, and no - at its start",
            hint="-o names it",
        )


def standalone(qube: Qube) -> Iterator[Words]:
    """Yield the commands, as words, that create a qube whose kernel is in dom0."""
    properties = {**_machine(qube), "kernelopts": qube.kernelopts, **_network(qube)}
    yield "qvm-create", "--class", "StandaloneVM", "--label", qube.label, *_words(properties), qube.name
    for name, value in {"no-default-kernelopts": "1", **_NO_AGENT, **qube.features}.items():
        yield "qvm-features", qube.name, name, value


def template(qube: Qube, image: str) -> Iterator[Words]:
    """Yield the commands, as words, that create a template of a root volume, and a qube of that."""
    made = ("qvm-create", "--class", "TemplateVM", "--label", qube.label, *_words(_machine(qube)))
    yield *made, "--root-copy-from", image, qube.name
    app = based_on(qube)
    yield (
        "qvm-create",
        "--class",
        "AppVM",
        "--template",
        qube.name,
        "--label",
        qube.label,
        *_words(_network(qube)),
        app,
    )
    for name, value in {**_NO_AGENT, **qube.features}.items():
        yield "qvm-features", app, name, value


def based_on(qube: Qube) -> str:
    """Return the name of the qube of a template."""
    return f"{qube.name[: 31 - len(_APP)]}{_APP}"


def of_kernel(qube: Qube, tar: str, sha256: str) -> str:
    """Return the text beside a kernel's tar; `sha256` is what sha256sum prints of the tar."""
    name = qube.name
    unpack = ("sudo", "tar", "--extract", "--file", tar, "--directory", PLACE)
    return _text(
        f"{name}: a kernel for Qubes OS, and the commands for dom0",
        "dom0 has no network. The tar comes out of the qube in which it lies: name that, and the place. It holds "
        f"one folder, {name}, which belongs in {PLACE}, and is unpacked if its sum is right.",
        [*_fetching(tar), *_checked(tar, sha256, unpack)],
        "The qube, once:",
        [*map(_line, standalone(qube)), f"qvm-start {name}"],
        *_console(name),
        "A newer build is fetched and unpacked as above, by the commands that came with it, and is there at the "
        "qube's next start. To be rid of it:",
        [f"qvm-shutdown --wait {name}", f"qvm-remove {name}", f"sudo rm -r {PLACE}/{name}"],
        *([_OF_PV] if qube.mode == "pv" else []),
        _OF_RELEASES,
        _OF_QREXEC,
    )


def of_template(qube: Qube, image: str, sha256: str) -> str:
    """Return the text beside a template's root volume; `sha256` is what sha256sum prints of the volume."""
    name, app = qube.name, based_on(qube)
    made, *rest = template(qube, image)
    return _text(
        f"{name}: the root volume of a template for Qubes OS, and the commands for dom0",
        f"Once: the kernel {PVH_GRUB}, GRUB, which finds the image's own kernel by its /boot/grub/grub.cfg.",
        ["sudo qubes-dom0-update grub2-xen-pvh"],
        "dom0 has no network. The image comes out of the qube in which it lies: name that, and the place. It "
        "becomes the template's root volume if its sum is right.",
        [*_fetching(image), *_checked(image, sha256, made)],
        "A qube of the template:",
        [*map(_line, rest), f"qvm-start {app}"],
        *_console(app),
        "A newer build is fetched as above, by the commands that came with it, when both are shut down. Then:",
        _checked(image, sha256, ("qvm-volume", "import", f"{name}:root", image)),
        "To be rid of it:",
        [f"qvm-shutdown --wait {app}", f"qvm-remove {app} {name}"],
        _OF_GRUB,
        _OF_QREXEC,
    )


_OF_PV = (
    "This kernel has no entry for PVH, or the recipe wants PV: its qube is PV. Qubes advises against that, since "
    "more of Xen is within a PV guest's reach."
)
_OF_RELEASES = (
    "R4.0, R4.1 and the first of R4.2 ask for an initramfs with any kernel: hence the one in the folder. "
    "Without the feature no-default-kernelopts Qubes puts a Linux' root=… before the command line."
)
_OF_GRUB = (
    "The kernel's command line is in the image; GRUB passes no kernelopts on. R4.1's qvm-create of before October "
    '2022 takes no root volume below 10 GiB: disk.size = "10GiB" makes one, most of it holes.'
)
_OF_QREXEC = (
    "The feature qrexec is empty, since the kernel has no agent of Qubes': in R4.0 qvm-start would wait for one, "
    "and fail."
)


def _console(name: str) -> tuple[str | list[str], ...]:
    """Tell where a qube's console is: xenconsoled's log of it stays, of a kernel that ends at once as well."""
    return (
        "Its console, while it runs, and dom0's log of it, which stays:",
        [f"sudo xl console {name}", f"sudo tail -n 40 /var/log/xen/console/guest-{name}.log"],
    )


def _machine(qube: Qube) -> dict[str, object]:
    # maxmem = memory: no balloon, which few unikernels have.
    told = {"virt_mode": qube.mode, "kernel": qube.kernel}
    return {**told, "memory": qube.memory, "maxmem": qube.memory, "vcpus": qube.vcpus}


def _network(qube: Qube) -> dict[str, object]:
    found: dict[str, object] = {} if qube.netvm is None else {"netvm": qube.netvm}
    return found | ({"provides_network": True} if qube.provides_network else {})


def _words(properties: Mapping[str, object]) -> Words:
    return tuple(word for name, value in properties.items() for word in ("--property", f"{name}={value}"))


def _fetching(file: str) -> list[str]:
    place = shlex.quote(f"/home/user/{file}")
    return [f"QUBE=work FILE={place}", f'qvm-run --pass-io --no-gui "$QUBE" "cat \'$FILE\'" >{shlex.quote(file)}']


def _checked(file: str, sha256: str, then: Words) -> list[str]:
    """Return a command that is run only if the file's sum is right, however much is pasted at once."""
    return [f"echo {shlex.quote(f'{sha256}  {file}')} | sha256sum --check && \\", f"  {_line(then)}"]


def _line(words: Words) -> str:
    """Return a command; each property stands on a line of its own."""
    return "".join(f" \\\n      {word}" if word == "--property" else f" {_quoted(word)}" for word in words)[1:]


def _quoted(word: str) -> str:
    """Return a word for a shell; one with an empty value in quotes, so that it does not look forgotten."""
    return f"'{word}'" if word.endswith("=") and shlex.quote(word) == word else shlex.quote(word)


def _text(title: str, *parts: str | list[str]) -> str:
    """Return paragraphs, and commands between them: plain text that is Markdown, too."""
    blocks = [f"# {title}"]
    for part in parts:
        if isinstance(part, str):
            blocks.append(textwrap.fill(part, _WIDTH, break_long_words=False, break_on_hyphens=False))
        else:
            blocks.append(textwrap.indent("\n".join(part), "    "))
    return "\n\n".join(blocks) + "\n"
