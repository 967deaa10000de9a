"""Why a Linux that was started says nothing: it has no console, unless its command line names one."""

import re

from imagekit.errors import KernelError
from imagekit.kernel import KernelFacts, Way
from imagekit.kernel.read import read_kernel_bytes
from imagekit.prove.boot import Boot, Verdict, left_grub
from imagekit.prove.subject import Subject

_STARTED = {Verdict.CRASHED, Verdict.HUNG, Verdict.WITHOUT_TEXT}
_CONSOLE = re.compile(r"(?<!\S)(console|earlyprintk|earlycon)=")
_WORDS = "the kernel is a Linux, which says nothing unless its command line names the console: console=hvc0"


def of_silence(subject: Subject, seen: Boot) -> str:
    """Return, in a line, what would have a silent guest speak; "" where it spoke, is no Linux, or not known."""
    if seen.verdict not in _STARTED or seen.console[left_grub(seen.console) or 0 :].strip():
        return ""
    cmdline = subject.claims.boot.cmdline if subject.claims else subject.cmdline
    if not _is_linux(subject) or _CONSOLE.search(cmdline):
        return ""
    return f"{_WORDS}, and console=ttyS0 as well" if subject.way is Way.HVM else _WORDS


def _is_linux(subject: Subject) -> bool:
    try:
        if subject.claims is not None:
            return KernelFacts.from_json(subject.claims.kernel.facts).is_linux
        return bool(subject.kernel) and read_kernel_bytes(subject.kernel).is_linux
    except (KernelError, ValueError):
        return False
