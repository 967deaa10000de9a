"""The place where proofs are made: the labs in the cache, one proof at a time, and the record of each."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from imagekit import proof as records
from imagekit.accelerator import against_kvm
from imagekit.errors import ToolError, VerificationError
from imagekit.kernel import Way
from imagekit.plan import Json
from imagekit.proof import Proof
from imagekit.prove.boot import Boot, Expected, Verdict, boot, check, left_grub
from imagekit.prove.explain import against_amazon, explain
from imagekit.prove.job import Guest, Network, check_job, kind_of
from imagekit.prove.lab import HVM, PLAIN, Lab, Variant, load, prepare
from imagekit.prove.machines import Machines
from imagekit.prove.silence import of_silence
from imagekit.prove.subject import Subject, disk
from imagekit.terminal import plain

_CONSOLE = 256 * 1024  # characters of a console that a record keeps
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOADERS: Mapping[Way, tuple[str, str]] = {
    Way.PYGRUB_PV: ("pygrub", "xen-utils-4.17"),
    Way.PVH_PYGRUB: ("pygrub", "xen-utils-4.17"),
    Way.PV_GRUB: ("GRUB for PV, with menu.lst", "grub-xen-bin"),
    Way.MULTIBOOT: ("GRUB for PVH", "grub-xen-host"),
    Way.HVM: ("the disk's boot sector, by SeaBIOS", "seabios"),
    Way.PV_DIRECT: ("xl", "xen-utils-4.17"),
    Way.PVH: ("xl", "xen-utils-4.17"),
}
_CHAIN_LOADED = (
    "GRUB 2 sets up a PV guest's page tables unlike xl and Amazon's PV-GRUB, and kernels of the Mini-OS era crash "
    "under it; pygrub boots the same image"
)


class Laboratory:
    """Makes proofs. `cache` and `state` are folders; `note` is told what takes its time."""

    def __init__(
        self,
        cache: Path,
        state: Path,
        *,
        note: Callable[[str], None] = lambda _: None,
        accelerator: str = "auto",
        cold: bool = False,
    ) -> None:
        self.cache = cache.absolute()
        self.state = state
        self._note = note
        self._asked = accelerator
        self._cold = cold

    def prepare(self, way: Way | None = None, *, debs: Path | None = None) -> Lab:
        """Make the lab for a way, or look whether its packages have changed, and save a machine of it."""
        variant = variant_for(way)
        with self._alone():
            lab = prepare(self._folder(variant) / "dom0", variant, debs=debs, say=self._note)
            machines = self._machines(lab)
            if not machines.saved.exists():
                self._note("booting Xen and dom0 once, and saving the machine")
                machines.save()
            return lab

    def prove(
        self, subject: Subject, expected: Expected, *, network: Network | None = None, timeout: float = 60.0
    ) -> Proof:
        """Boot a subject, keep the record of it and return it; `timeout` is in seconds."""
        with self._alone():
            lab = self._lab(variant_for(subject.way))
            machines = self._machines(lab)
            seen = self._boot(machines, subject, expected, network, timeout)
            warnings: tuple[str, ...] = ()
            if subject.way is Way.PV_GRUB:
                if seen.verdict is Verdict.BOOTED:
                    seen = _by_amazons_rules(seen, subject.path)
                elif _left_grub(seen):
                    second = self._boot(machines, subject, expected, network, timeout, by=Way.PYGRUB_PV)
                    if second.verdict is Verdict.BOOTED:
                        warnings = (f"pv-grub: {seen.verdict}, {seen.why}: {_CHAIN_LOADED}",)
        good = seen.verdict is Verdict.BOOTED or bool(warnings)
        proof = _recorded(subject, expected.told(network), lab, seen, booted=good, warnings=warnings)
        records.keep(proof, self.state)
        return proof

    def check(self, cfg: bytes) -> str:
        """Have xl read a configuration (`xl create -n`); VerificationError if it refuses, else what it says."""
        with self._alone():
            status, said = check(self._machines(self._lab(PLAIN)), check_job(cfg), self._note)
        if status:
            raise VerificationError("xl does not take the configuration", details=said)
        return said

    def _boot(
        self,
        machines: Machines,
        subject: Subject,
        expected: Expected,
        network: Network | None,
        timeout: float,
        by: Way | None = None,
    ) -> Boot:
        with disk(subject, machines.folder) as descriptor:
            guest = Guest(
                way=by or subject.way,
                memory=subject.memory,
                vcpus=subject.vcpus,
                disk=descriptor is not None,
                kernel=subject.kernel,
                ramdisk=subject.ramdisk,
                cmdline=subject.cmdline,
                network=network,
            )
            return boot(machines, guest, descriptor, expected, timeout=timeout, cold=self._cold, note=self._note)

    def _lab(self, variant: Variant) -> Lab:
        lab = load(self._folder(variant) / "dom0", variant)
        if lab is None:
            self._note(f"the lab is made first; `{variant.preparing}` does it beforehand")
            lab = prepare(self._folder(variant) / "dom0", variant, say=self._note)
        return lab

    def _machines(self, lab: Lab) -> Machines:
        return Machines(lab, self._folder(lab.variant), self._accelerator)

    def _folder(self, variant: Variant) -> Path:
        folder = self.cache / variant.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @cached_property
    def _accelerator(self) -> str:
        if self._asked == "auto":
            return self._remembered()
        if self._asked == "kvm" and (why := against_kvm()):
            raise ToolError("KVM does not work here", details=why, hint="--accel tcg emulates")
        return self._asked

    def _remembered(self) -> str:
        """Try KVM once for each start of this machine: the trial takes seconds."""
        memory, running = self._folder(PLAIN) / "accelerator", _BOOT_ID.read_text().strip()
        told = memory.read_text().split() if memory.exists() else []
        if told[:1] != [running] or told[1:] not in (["kvm"], ["tcg"]):
            told = [running, "tcg" if against_kvm() else "kvm"]
            memory.write_text(" ".join(told) + "\n")
        return told[1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock: two emulated machines at once take twice the time and twice the memory."""
        lock = FileLock(self._folder(PLAIN) / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self._note("another proof is under way: waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def variant_for(way: Way | None) -> Variant:
    """Return the lab that a way of booting needs."""
    return HVM if way is Way.HVM else PLAIN


def _by_amazons_rules(seen: Boot, image: Path) -> Boot:
    reasons = against_amazon(image)
    if not reasons:
        return seen
    why = f"GRUB 2 boots it, and Amazon's PV-GRUB would not: {'; '.join(reasons)}"
    return replace(seen, verdict=Verdict.AGAINST_RULES, why=why)


def _left_grub(seen: Boot) -> bool:
    """Tell whether GRUB found and started the kernel: what comes after is its page tables, not the image."""
    return left_grub(seen.console) is not None


def _recorded(
    subject: Subject,
    expected: Mapping[str, Json],
    lab: Lab,
    seen: Boot,
    *,
    booted: bool,
    warnings: tuple[str, ...],
) -> Proof:
    name, package = _LOADERS[subject.way]
    explained = not booted and seen.verdict is not Verdict.AGAINST_RULES
    more = (explain(seen, subject.path, subject.way), of_silence(subject, seen)) if explained else ()
    why = "\n".join(filter(None, (seen.why, *more)))
    return Proof(
        image=subject.name,
        target=subject.target,
        disk=subject.digest,
        kernel=str(subject.claims.kernel.digest) if subject.claims else "",
        way=subject.way.value,
        guest=kind_of(subject.way),
        loader=f"{name} {lab.versions.get(package, '')}".strip(),
        lab=lab.digest,
        parts=dict(lab.digests),
        versions=dict(lab.versions),
        booted=booted,
        verdict=seen.verdict.value,
        why=why,
        expected=expected,
        seconds=dict(seen.seconds),
        memory=seen.memory,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        console=plain(seen.console.decode(errors="backslashreplace"))[-_CONSOLE:],
        said=plain(seen.said)[-_CONSOLE:],
        warnings=warnings,
    )
