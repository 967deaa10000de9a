"""Sources on their way to a worker: put into the shared store by who has them, taken out by who reads them.

A file goes as a blob by its digest. A folder goes as a tar of names, execute bits, links and bytes, which is what
its digest counts; a worker unpacks it and holds it against that digest. A folder whose owners and attributes count
(`kept`) does not go: its steps run where it lies.
"""

import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from imagekit.errors import TryAgainError, VerificationError
from imagekit.executor import Given, SourceInput, Task
from imagekit.plan import Json
from imagekit.sparse import digest_tree, fingerprint, map_blocks, walk
from imagekit.store import Store


@dataclass(frozen=True, slots=True)
class Parcel:
    """An input as a worker is told: the digest of what it is, and, of a folder, of the tar that it comes in."""

    digest: str
    source: bool = False
    tar: str = ""


def movable(task: Task) -> bool:
    """Tell whether a task can run elsewhere: by its function, and by what it reads."""
    return task.travels and not any(given.source and given.kept for given in task.inputs.values())


class Sender:
    """Puts what tasks read into the shared store, each once. For any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sent: dict[tuple[str, bool], Future[Parcel]] = {}
        self._sending = Lock()

    def send(self, task: Task) -> dict[str, Json]:
        """Return a task's parcels by the inputs' names; TryAgainError when the store does not take them."""
        return {name: asdict(self._parcel(given)) for name, given in task.inputs.items()}

    def _parcel(self, given: Given) -> Parcel:
        name, mine = (given.digest, given.source is not None), Future[Parcel]()
        with self._sending:
            first = self._sent.setdefault(name, mine)
        if first is mine:
            try:
                mine.set_result(self._put(given))
            except BaseException as error:  # noqa: BLE001 -- raised below, and by all who wait for it
                mine.set_exception(error)
        return first.result()

    def _put(self, given: Given) -> Parcel:
        if given.source is None:
            return self._result(given.digest)
        source = given.input(self._store)
        assert isinstance(source, SourceInput)  # noqa: S101 -- for the type checker
        if source.path.is_dir():
            tar = self._store.keep(lambda out: _pack(source.path, out))
            done, parcel = self._store.share(tar), Parcel(given.digest, source=True, tar=tar.digest)
        else:
            done, parcel = (
                self._store.give(source.path, map_blocks(source.path)),
                Parcel(given.digest, source=True),
            )
        source.check()
        return _taken(parcel, done=done)

    def _result(self, digest: str) -> Parcel:
        """What a worker made is there; what was found here may not be."""
        stored = self._store.stored(digest)
        return _taken(Parcel(digest), done=not stored.path.exists() or self._store.share(stored))


def _taken(parcel: Parcel, *, done: bool) -> Parcel:
    if not done:
        raise TryAgainError("the shared store does not take what workers are to read")
    return parcel


@contextmanager
def received(content: Mapping[str, Any], store: Store) -> Iterator[Task]:
    """Lend the task that `content` tells, with its inputs here; TryAgainError when the store lacks some."""
    with ExitStack() as stack:
        inputs = {name: _given(Parcel(**parcel), store, stack) for name, parcel in content["inputs"].items()}
        yield replace(Task.from_json({**content, "inputs": {}}), inputs=inputs)


def _given(parcel: Parcel, store: Store, stack: ExitStack) -> Given:
    stored = store.fetch(parcel.tar or parcel.digest)
    if stored is None:
        raise TryAgainError(
            f"the shared store has no blob {(parcel.tar or parcel.digest)[:16]}, which a step is to read",
            hint="it was pruned meanwhile, or is damaged; run it again",
        )
    if not parcel.source:
        return Given(parcel.digest)
    path = stored.path
    if parcel.tar:
        path = stack.enter_context(store.workplaces.new()) / "tree"
        with tarfile.open(stored.path) as tar:
            tar.extractall(path, members=_harmless(tar.getmembers()))  # noqa: S202 -- what stays below it
        if digest_tree(path) != parcel.digest:
            raise VerificationError("a folder came out of the store as another than it went in")
    return Given(parcel.digest, str(path), state=fingerprint(path).hex())


def _harmless(members: list[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """VerificationError for what would be unpacked elsewhere than below its folder."""
    links = {str(PurePosixPath(member.name)) for member in members if member.issym()}
    seen: set[str] = set()
    for member in members:
        name, target = PurePosixPath(member.name), PurePosixPath(member.linkname if member.islnk() else ".")
        above = {str(one) for one in (*name.parents, target, *target.parents)}
        strange = any(one.is_absolute() or ".." in one.parts for one in (name, target))
        plain = member.isreg() or member.isdir() or member.issym() or member.islnk()
        # A name that comes twice might be a link the first time, and be written through the second.
        if strange or above & links or str(name) in seen or not plain:
            raise VerificationError("a folder in the store has names that lead out of it")
        seen.add(str(name))
    return members


def _pack(folder: Path, out: Path) -> None:
    """Write a folder as a tar that is the same for the same content."""
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in walk(folder):
            tar.add(entry.path, str(Path(entry.path).relative_to(folder)), recursive=False, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
