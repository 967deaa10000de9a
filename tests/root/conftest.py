"""Root tars of folders, tars and files."""

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.executor import SourceInput
from imagekit.root import Member, read_root, write_root

EPOCH = 946684800
Compose = Callable[..., Path]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Return a function that writes a root tar: compose(path, (path, to)…, kernel="/boot/k", files={…})."""

    def compose_it(
        *trees: Path | tuple[Path, str],
        kernel: str | None = None,
        files: dict[str, str] | None = None,
        epoch: int = EPOCH,
        form: str = "",
    ) -> Path:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        pairs = [tree if isinstance(tree, tuple) else (tree, "/") for tree in trees]
        inputs = {f"files-{number}": SourceInput(path) for number, (path, _) in enumerate(pairs)}
        if kernel is not None:
            (folder / "k").write_bytes(b"kernel")
            inputs["kernel"] = SourceInput(folder / "k")
        options = {
            "kernel": kernel,
            "files": files or {},
            "trees": [
                {"input": name, "to": to, **({"form": form} if form else {})}
                for name, (_, to) in zip(inputs, pairs, strict=False)
            ],
            "epoch": epoch,
        }
        write_root(inputs, folder / "root", options)
        paths = {name: os.fspath(source.path) for name, source in inputs.items()}
        (folder / "inputs.json").write_text(json.dumps(paths))
        return folder / "root"

    return compose_it


def members(root: Path) -> dict[str, Member]:
    """Return the members of a root tar by path."""
    return {member.path: member for member, _ in read_root(root)}


def contents(root: Path) -> dict[str, bytes]:
    """Return the bytes of the files of a root tar, those that lie in tars that `compose` was given as well."""
    found = {}
    for member, content in read_root(root):
        if content is not None:
            found[member.path] = content.read()
        elif member.reference is not None and member.reference.offset is not None:
            inputs = json.loads(root.with_name("inputs.json").read_text())
            data = Path(inputs[member.reference.input]).read_bytes()
            found[member.path] = data[member.reference.offset :][: member.size]
    return found


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_bytes(
    *entries: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo,
    form: int = tarfile.PAX_FORMAT,
    records: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of a tar of headers, with their contents."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, pax_headers=records) as tar:
        for item in entries:
            info, data = item if isinstance(item, tuple) else (item, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()
