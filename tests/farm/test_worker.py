"""What a worker is asked for, what it finds out by itself, and what it takes out of a store."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from imagekit.errors import VerificationError
from imagekit.executor import Given, Task
from imagekit.executor.inputs import SourceInput
from imagekit.farm import NAMES, abilities
from imagekit.farm.cargo import Sender, received
from imagekit.farm.work import step
from imagekit.stages import write_copy
from imagekit.store import Store
from imagekit.store.backend import backend
from imagekit.store.shared import Shared
from imagekit.store.trust import Trust
from tests.cli.conftest import Cli, cli
from tests.store.farm import key_files

__all__ = ["cli"]


def test_a_machine_finds_out_what_it_can() -> None:
    assert set(abilities()) <= set(NAMES)
    assert ("root" in abilities()) == (os.geteuid() == 0)


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "no scheduler"),
        (["--scheduler", "tcp://127.0.0.1:1"], "writes to a shared store"),
        (["--scheduler", "tcp://127.0.0.1:1", "--store", "{store}", "--trust", "{public}"], "writes to"),
        (
            ["--scheduler", "tcp://127.0.0.1:1", "--store", "{store}", "--store-key", "{key}", "--can", "fly"],
            "fly",
        ),
    ],
)
def test_what_no_worker_can_be_started_with(cli: Cli, tmp_path: Path, options: list[str], words: str) -> None:
    private, public = key_files(tmp_path)
    (tmp_path / "nfs").mkdir()
    names = {"{store}": f"file://{tmp_path / 'nfs'}", "{key}": str(private), "{public}": str(public)}
    said = cli("worker", *(names.get(one, one) for one in options))
    assert said.code == 2, said.err
    assert words in said.err


def cache(folder: Path, name: str) -> Store:
    (folder / "nfs").mkdir(exist_ok=True)
    return Store(folder / name, Shared(backend(f"file://{folder / 'nfs'}"), Trust(unsigned=True)))


def task(path: Path) -> Task:
    given = Given.of(SourceInput(path))
    return Task("copy", write_copy, {}, 1, {}, {"file": given}, "a" * 64, "app")


def test_a_folder_that_leads_out_of_itself_is_not_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("content")
    front, worker = cache(tmp_path, "front"), cache(tmp_path, "worker")
    parcels = Sender(front).send(task(folder))
    content = {**task(folder).to_json(), "inputs": parcels}
    with received(content, worker) as one:
        assert (Path(one.inputs["file"].source or "") / "file").read_text() == "content"

    def hostile(*members: tuple[str, bytes, str]) -> str:
        def write(out: Path) -> None:
            with tarfile.open(out, "w") as tar:
                for name, kind, target in members:
                    item = tarfile.TarInfo(name)
                    item.type, item.linkname = kind, target
                    tar.addfile(item, io.BytesIO())

        made = front.keep(write)
        assert front.share(made)
        return made.digest

    cases = [
        hostile(("../out", tarfile.REGTYPE, "")),
        hostile(("/out", tarfile.REGTYPE, "")),
        hostile(("link", tarfile.SYMTYPE, "/"), ("link/out", tarfile.REGTYPE, "")),
        hostile(("hard", tarfile.LNKTYPE, "../../out")),
        hostile(("null", tarfile.CHRTYPE, "")),
        hostile(("./link", tarfile.SYMTYPE, "/"), ("link/out", tarfile.REGTYPE, "")),
        hostile(("link", tarfile.SYMTYPE, "/out"), ("link", tarfile.REGTYPE, "")),
        hostile(("b//link", tarfile.SYMTYPE, "/"), ("b/link/out", tarfile.REGTYPE, "")),
        hostile(("link", tarfile.SYMTYPE, "/out"), ("hard", tarfile.LNKTYPE, "link")),
        hostile(("file", tarfile.REGTYPE, "")),
    ]
    for digest in cases:
        parcel = {"digest": Given.of(SourceInput(folder)).digest, "source": True, "tar": digest}
        with pytest.raises(VerificationError), received({**content, "inputs": {"file": parcel}}, worker):
            pass


def test_a_worker_says_that_it_has_another_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    content = {**task(tmp_path / "file").to_json(), "inputs": {}, "topic": "a"}
    answer = step(json.dumps(content), "s3://another")
    assert "another store than who asks: none and s3://another" in answer
