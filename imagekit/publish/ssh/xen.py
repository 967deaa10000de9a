"""An image for open-source Xen to a host: its file, its configuration there, and its domain.

What makes two publications one is the image, the configuration, the host and the folder. Files are named by it, so
builds do not overwrite each other, a running domain keeps its disk, and a repeated run finds what is there.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import dirname, join
from typing import cast
from uuid import NAMESPACE_URL, uuid5

import paramiko

from imagekit.artifact import Sidecar
from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.formats.domain import Domain
from imagekit.formats.xl import xl_cfg
from imagekit.formats.xl_reading import domain_of
from imagekit.publish import Order
from imagekit.publish.course import Course
from imagekit.publish.keeping import told_of
from imagekit.publish.ssh import transfer
from imagekit.publish.ssh.connection import Host, LostError, connected
from imagekit.publish.ssh.domain import REPLACED, Starter, Wanted, aside_uuid
from imagekit.publish.ssh.keeper import PART, TARGET, undo
from imagekit.publish.ssh.xl import Xl
from imagekit.receipt import DESTROYED, FAILED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishXen
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks

_ATTEMPTS = 4
_PAUSE = 0.2
_LARGEST_CFG = 1 << 20
_KEY = 12  # hexadecimal digits in a file's name


def publish(order: Order) -> list[Receipt]:
    """Bring the artifact of the target xen to its host."""
    settings = cast("PublishXen", order.settings)
    if order.terms.rehearsed:
        raise UsageError("a Xen host is not rehearsed", hint="--rehearse is for AWS")
    if settings.host is None:
        raise UsageError("no host is named", hint="--host dom0.example, a Xen host that lets you in by SSH")
    publication = _Publication(order, settings, settings.host, _goods(order, settings))
    return [publication.run()]


@dataclass(frozen=True)
class _Goods:
    """What is brought: files and their places, and the configuration's text there."""

    files: tuple[tuple[Path, BlockMap, str], ...]
    configuration: str
    text: str
    domain: Domain
    key: str


def _goods(order: Order, settings: PublishXen) -> _Goods:
    """Check the artifact, all of it, and say where it goes; VerificationError when it is not what it says."""
    path, sidecar = order.path, order.sidecar
    blocks = map_blocks(path)
    if blocks.digest != sidecar.digest:
        raise VerificationError(f"{path} is not what its sidecar describes", hint="build it again")
    domain = domain_of(_companion(path, sidecar, ".cfg").read_text())
    parts = (sidecar.digest, sidecar.companions[".cfg"], sidecar.companions.get(".xen", ""))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_KEY]
    stem = join(settings.folder or dirname(domain.disks[0].path), f"{domain.name}-{key}")
    files = [(path, blocks, f"{stem}.raw")]
    if domain.kernel is not None:
        kernel = _companion(path, sidecar, ".xen")
        files.append((kernel, map_blocks(kernel), f"{stem}.xen"))
    there = replace(
        domain,
        uuid=str(uuid5(NAMESPACE_URL, f"imagekit:{domain.name}:{key}")),
        disks=(replace(domain.disks[0], path=f"{stem}.raw"), *domain.disks[1:]),
        kernel=None if domain.kernel is None else f"{stem}.xen",
    )
    return _Goods(tuple(files), f"{stem}.cfg", xl_cfg(there), there, key)


def _companion(path: Path, sidecar: Sidecar, suffix: str) -> Path:
    beside = path.with_name(path.name + suffix)
    try:
        fits = suffix != ".cfg" or beside.stat().st_size <= _LARGEST_CFG
        if fits and digest_file(beside) == sidecar.companions[suffix]:
            return beside
    except (OSError, KeyError) as error:
        raise VerificationError(f"{beside} cannot be read", details=str(error)) from error
    raise VerificationError(
        f"{beside} is not what the sidecar describes", hint="build it again; settings belong into the recipe"
    )


class _Publication:
    """One artifact on its way to one host."""

    def __init__(self, order: Order, settings: PublishXen, named: str, goods: _Goods) -> None:
        self._order = order
        self._settings = settings
        self._named = named
        self._goods = goods
        self._ledger = Ledger(order.terms.state)
        self._course = Course.to(named, order.terms)
        self._starts = settings.start or settings.replace
        self._host: Host | None = None

    def run(self) -> Receipt:
        """Do it, again where the connection broke, and undo it where it fails."""
        sidecar = self._order.sidecar
        fresh = Receipt(
            id=receipt_id(TARGET, self._goods.key, self._named, self._goods.configuration),
            target=TARGET,
            image=sidecar.image,
            digest=sidecar.digest,
            region=self._named,
            begun=now(),
        )
        with self._ledger.entry(fresh) as receipt, self._undoing(receipt), ThreadPoolExecutor(1) as pool:
            # Only closing the connection ends what waits for it when the user has had enough.
            work = pool.submit(self._attempt, receipt)
            while not wait([work], _PAUSE).done:
                if self._order.terms.stop.is_set() and self._host:
                    self._host.close()
            work.result()
        return receipt

    def _attempt(self, receipt: Receipt) -> None:
        """Do it, and go on with it where the connection broke."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                with connected(self._named, self._order.terms.environment) as self._host:
                    self._make(self._host, receipt)
            except LostError as error:
                self._course.go_on()
                if not left or not receipt.resources:
                    raise
                self._course.tell(f"{error.brief}; it goes on in a moment")
                self._course.wait(_ATTEMPTS - left)
            else:
                return

    def _make(self, host: Host, receipt: Receipt) -> None:
        starter = self._starter(host, receipt)
        runs = False
        if self._starts:
            boot = self._order.sidecar.boot
            Xl(host).check(str(boot.get("guest", "")), self._order.sidecar.architecture)
            starter.settle()
            runs = starter.check(replace=self._settings.replace)
        self._enter(receipt)
        for path, blocks, target in self._goods.files:
            if (runs or _had_domain(receipt)) and transfer.has_length(host, target, blocks.length):
                self._course.tell(f"{target} is there already, and the domain's")  # which may have written to it
            else:
                self._place(host, receipt, path, blocks, target)
        self._configure(host, receipt)
        if runs:
            self._course.tell(f"{self._goods.domain.name} runs there already")
        elif self._starts:
            starter.start()
        receipt.result, receipt.state, receipt.ended = self._goods.configuration, PUBLISHED, now()
        self._ledger.write(receipt)
        self._retire(host, receipt)

    def _enter(self, receipt: Receipt) -> None:
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        receipt.proof = self._order.proof or receipt.proof
        receipt.details |= {
            "name": self._goods.domain.name,
            "uuid": self._goods.domain.uuid,
            "image": self._goods.files[0][2],
            "key": self._goods.key,
        }
        self._ledger.write(receipt)

    def _place(self, host: Host, receipt: Receipt, path: Path, blocks: BlockMap, target: str) -> None:
        """Bring a file there, beside its place first, unless it is there."""
        if transfer.is_there(host, path, blocks, target):
            self._course.tell(f"{target} is there already")
            self._file(receipt, target, fresh=False)
            return
        transfer.check_room(host, dirname(target), len(blocks.blocks) * BLOCK)
        self._file(receipt, target, fresh=True)
        sent = transfer.send(host, path, blocks, target + PART, self._course.go_on)
        with host.files() as files:
            files.posix_rename(target + PART, target)
        self._course.tell(f"{target}: {sent / (1 << 20):.1f} MiB sent, of {blocks.length / (1 << 20):.0f}")

    def _configure(self, host: Host, receipt: Receipt) -> None:
        target, data = self._goods.configuration, self._goods.text.encode()
        with host.files() as files:
            with suppress(FileNotFoundError), files.open(target, "rb") as there:
                if there.read(len(data) + 1) == data:
                    self._file(receipt, target, fresh=False)
                    return
            self._file(receipt, target, fresh=True)
            try:
                with files.open(target + PART, "wb") as made:
                    made.write(data)
                files.posix_rename(target + PART, target)
            except OSError as error:
                raise PublishError(f"{self._named}: {target} cannot be written", details=str(error)) from error

    def _file(self, receipt: Receipt, target: str, *, fresh: bool) -> None:
        known = any(one.id == target and one.ours for one in receipt.resources)
        receipt.resource("file", target, ours=fresh or known).ours = fresh or known
        self._ledger.write(receipt)

    def _retire(self, host: Host, receipt: Receipt) -> None:
        """Remove the files of the publication whose domain was replaced, if it is one of ours."""
        uuid = receipt.details.get(REPLACED)
        for known in list(self._ledger):
            held = {one.id for one in known.resources if one.kind == "domain" and not one.gone}
            if known.target == TARGET and known.region == self._named and uuid in held:
                try:
                    self._take_away(host, known)
                except InterruptedByUser:
                    raise
                except (ImagekitError, OSError, paramiko.SSHException) as error:
                    self._course.tell(f"warning: the domain that was replaced has left something: {error}")
        receipt.details.pop(REPLACED, None)
        self._ledger.write(receipt)

    def _take_away(self, host: Host, known: Receipt) -> None:
        with self._ledger.entry(known) as old:
            self._course.tell(f"replaced, and removed: {told_of(undo(host, old, self._ledger))}")
            old.state, old.ended = DESTROYED, now()
            self._ledger.write(old)

    @contextmanager
    def _undoing(self, receipt: Receipt) -> Iterator[None]:
        """Undo what was made when something fails; a signal keeps it, to go on with."""
        try:
            yield
        except InterruptedByUser:
            if aside_uuid(receipt):
                with suppress(ImagekitError), connected(self._named, self._order.terms.environment) as host:
                    self._starter(host, receipt).settle()
            if receipt.left:
                self._course.tell(f"kept, to go on with: {told_of(receipt.left)}")
            raise
        except Exception as error:
            if receipt.state == PUBLISHED:
                self._course.tell(f"{receipt.result} is published, and stays")
            elif receipt.resources:
                self._failed(receipt, error)
            if isinstance(error, paramiko.SSHException | OSError):
                raise PublishError(f"{self._named}: publishing failed", details=str(error)) from error
            raise

    def _failed(self, receipt: Receipt, error: Exception) -> None:
        receipt.state, receipt.ended = FAILED, now()
        receipt.why = error.brief if isinstance(error, ImagekitError) else type(error).__name__
        self._ledger.write(receipt)
        left = receipt.left
        if self._order.terms.keep or not left:
            if left:
                self._course.tell(f"kept, as asked: {told_of(left)}")
            return
        try:
            with connected(self._named, self._order.terms.environment) as host:
                self._course.tell(f"removed again: {told_of(undo(host, receipt, self._ledger))}")
            receipt.state, receipt.result = DESTROYED, ""
            self._ledger.write(receipt)
        except (ImagekitError, OSError, paramiko.SSHException) as second:
            brief = second.brief if isinstance(second, ImagekitError) else str(second)
            self._course.tell(f"left on the host: {told_of(receipt.left)} ({brief})")

    def _starter(self, host: Host, receipt: Receipt) -> Starter:
        domain = self._goods.domain
        wanted = Wanted(domain.name, str(domain.uuid), self._goods.configuration, self._settings.watch)
        return Starter(Xl(host), wanted, receipt, self._ledger, self._order.terms.note)


def _had_domain(receipt: Receipt) -> bool:
    """Tell whether this publication has started a domain, which may have written to its disk."""
    return receipt.state == PUBLISHED and any(one.kind == "domain" for one in receipt.resources)
