"""The kernel on the disk: what loaders get is what was built in, and it can boot where it is meant to."""

from collections.abc import Generator

from imagekit import targets
from imagekit.errors import KernelError, VerificationError
from imagekit.kernel import KernelFacts, Refusal, Way, read_kernel, why_not
from imagekit.recipe import Image
from imagekit.verify.check import Check, passed
from imagekit.verify.claims import Claims
from imagekit.verify.menu import PATH as MENU
from imagekit.verify.pygrub import Taken, take, take_by_menu
from imagekit.verify.scratch import Scratch
from imagekit.verify.subject import Subject
from imagekit.verify.table import Spot

_BY_PYGRUB = {"pv": Way.PYGRUB_PV, "pvh": Way.PVH_PYGRUB}


def check_kernel(subject: Subject, room: Scratch, spot: Spot, kind: str) -> Generator[Check, None, Taken]:
    """Check what pygrub takes, as it is and by menu.lst, against the sidecar, and the kernel itself."""
    first = take(room)
    other = first if first.menu == MENU else take_by_menu(room, spot, kind)
    if other is not None and other.says != first.says:
        raise VerificationError(
            f"{first.menu} and {other.menu} disagree",
            details="\n".join(f"{run.menu}: kernel {run.digest}, {run.cmdline!r}" for run in (first, other)),
            hint="which one boots depends on the loader: remove the one that is wrong",
        )
    if subject.claims is not None:
        _compare(first, subject.claims)
    seen = first.menu if other in {None, first} else f"{first.menu} and {MENU} alike"
    yield passed("pygrub", f"{seen}: the kernel, with {first.cmdline!r}")
    yield check_facts(subject, first, _BY_PYGRUB.get(subject.guest))
    return first


def _compare(taken: Taken, claims: Claims) -> None:
    told = {
        "kernel": (taken.digest, claims.kernel.digest),
        "command line": (taken.cmdline, claims.boot.cmdline.strip()),
    }
    for what, (seen, claimed) in told.items():
        if seen != claimed:
            raise VerificationError(
                f"the {what} that {taken.menu} boots is not the one in the sidecar",
                details=f"on the disk: {seen}\nin the sidecar: {claimed}",
            )


def check_facts(subject: Subject, taken: Taken, way: Way | None = None) -> Check:
    """Check that a kernel is what the sidecar says, and boots; `way` is how, where no sidecar says it."""
    claims = subject.claims
    try:
        facts = read_kernel(taken.kernel)
        architecture = facts.architecture
    except KernelError as error:
        raise VerificationError(
            f"what {taken.menu} boots is no kernel", details=error.brief.removeprefix(f"{taken.kernel}: ")
        ) from None
    if claims is None:
        refusal = why_not(facts, way) if way is not None else _refusal(subject.target, facts)
    else:
        refusal = why_not(facts, claims.boot.way)
        _compare_facts(facts, claims)
    if refusal is not None:
        raise VerificationError(f"the kernel cannot boot on {subject.target}: {refusal.reason}")
    return passed("kernel", f"{facts.kind.value.upper()}, {architecture}, {facts.size} bytes")


def _refusal(target: str, facts: KernelFacts) -> Refusal | None:
    """Tell why a kernel boots on a target by none of the guests that need no boot sector."""
    refusal = targets.load(target).refusal
    first, *others = (refusal(facts, Image(boot=guest)) for guest in ("pv", "pvh"))
    return None if None in others else first


def _compare_facts(facts: KernelFacts, claims: Claims) -> None:
    seen = {"architecture": facts.architecture, **facts.to_json()}
    claimed = {"architecture": claims.architecture, **claims.kernel.facts}
    wrong = [name for name in sorted({*seen, *claimed}) if seen.get(name) != claimed.get(name)]
    if wrong:
        raise VerificationError(
            "the sidecar says of the kernel what the kernel does not",
            details="\n".join(f"{name}: {seen.get(name)}, not {claimed.get(name)}" for name in wrong),
        )
