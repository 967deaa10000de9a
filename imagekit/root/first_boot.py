"""What a system must not share with others that come of the same image, and what it is to know of itself.

machine-id(5): an empty /etc/machine-id is filled at the first boot, and that counts as the first one. SSH host
keys of the tree go: all who have the image would have them. authorized_keys as in sshd(8): 0600 in a folder of
0700.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from imagekit.errors import RecipeError
from imagekit.plan import Input, Json
from imagekit.recipe import KEY_HINT, public_key
from imagekit.root.merge import Tree, opened
from imagekit.root.sources import clean
from imagekit.root.tree import Member

_HOST_KEY = re.compile(r"etc/ssh/ssh_host_[a-z0-9]+_key(\.pub)?")
_SYSTEMD = ("usr/lib/systemd/systemd", "lib/systemd/systemd")
_MACHINE_ID, _DBUS_ID = "etc/machine-id", "var/lib/dbus/machine-id"
_LARGEST = 1 << 20  # bytes of a passwd and of hosts


@dataclass(frozen=True, slots=True)
class _Account:
    uid: int
    gid: int
    home: str


def make_anonymous(tree: Tree, epoch: int) -> None:
    """Take from a system's own tree what tells one machine from another."""
    for path in [path for path in tree.base if _HOST_KEY.fullmatch(path)]:
        tree.remove(path)
    if _MACHINE_ID in tree.base or any(path in tree.members for path in _SYSTEMD):
        _write(tree, Member(_MACHINE_ID, "file", 0o444, epoch), b"")
        dbus = tree.members.get(_DBUS_ID)
        if dbus is not None and dbus.kind == "file":  # on Debian it is a link to the other one, or made of it
            tree.remove(_DBUS_ID)


def introduce(tree: Tree, inputs: Mapping[str, Input], wished: Mapping[str, Json], epoch: int) -> None:
    """Put in the name and the keys that the recipe wants: `hostname`, `ssh` as a list of {user, keys}.

    A key is {text}, or {input}, a file. RecipeError for what is no public key, and for a user whom the tree lacks.
    """
    name = cast("str | None", wished["hostname"])
    if name is not None:
        _write(tree, Member("etc/hostname", "file", 0o644, epoch), f"{name}\n".encode())
        _write(tree, Member("etc/hosts", "file", 0o644, epoch), _hosts(_text(tree, inputs, "etc/hosts"), name))
    by_user: dict[str, list[str]] = {}
    for one in cast("list[dict[str, Json]]", wished["ssh"]):
        keys = [_key(inputs, key) for key in cast("list[dict[str, str]]", one["keys"])]
        by_user.setdefault(cast("str", one["user"]), []).extend(keys)
    for user, keys in by_user.items():
        _authorize(tree, _account(tree, inputs, user), keys, epoch)


def _authorize(tree: Tree, account: _Account, keys: list[str], epoch: int) -> None:
    folder = clean(f"{account.home}/.ssh", "etc/passwd")
    whose = Member("", "dir", 0o700, epoch, account.uid, account.gid)
    before = tree.members.get(folder.rpartition("/")[0])
    if before is None:
        tree.add(replace(whose, path=folder.rpartition("/")[0]))
    tree.add(replace(whose, path=folder))
    file = replace(whose, path=f"{folder}/authorized_keys", kind="file", mode=0o600)
    _write(tree, file, "".join(f"{key}\n" for key in keys).encode())


def _account(tree: Tree, inputs: Mapping[str, Input], user: str) -> _Account:
    for line in _text(tree, inputs, "etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) > 5 and fields[2].isdigit() and fields[3].isdigit():  # noqa: PLR2004
            return _Account(int(fields[2]), int(fields[3]), fields[5])
    raise RecipeError(f"root.ssh: the tree's /etc/passwd has no user {user!r}")


def _key(inputs: Mapping[str, Input], key: Mapping[str, str]) -> str:
    """Return a line for authorized_keys. What is refused is not shown: it may be a secret."""
    source = key["text"] if "text" in key else inputs[key["input"]].path
    try:
        return public_key(source)
    except ValueError as error:  # a file that changed since the recipe was read
        where = "a key of root.ssh" if isinstance(source, str) else str(source)
        raise RecipeError(f"{where} {error}", hint=KEY_HINT) from None


def _hosts(text: str, name: str) -> bytes:
    names = f"{name} {name.partition('.')[0]}" if "." in name else name
    lines = [line for line in text.splitlines() if line.split("#")[0].split()[:1] != ["127.0.1.1"]]
    if not text:
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    return "\n".join([*lines, f"127.0.1.1 {names}", ""]).encode("utf-8", "surrogateescape")


def _text(tree: Tree, inputs: Mapping[str, Input], path: str) -> str:
    """Return a file of the tree, "" where there is none."""
    member = tree.members.get(path)
    if member is None or member.kind not in {"file", "hard"}:
        return ""
    member, content = tree.file(path)
    with opened(member, content, inputs) as file:
        return file.read(min(member.size, _LARGEST)).decode("utf-8", "surrogateescape")


def _write(tree: Tree, member: Member, data: bytes) -> None:
    """Write a file in the place of whatever the tree has there, a link for example."""
    if member.path in tree.members:
        if tree.members[member.path].kind == "dir":
            raise RecipeError(f"/{member.path} is a folder in the tree")
        tree.remove(member.path)
    tree.add(replace(member, size=len(data)), partial(io.BytesIO, data))
