"""Public keys of OpenSSH's, as texts or as files, and what is none (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

import base64
import binascii
import re
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

_PUBLIC_KEY = re.compile(r"\s*(ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+ +[A-Za-z0-9+/=]{16,}")
KEY_HINT = "a public key's file ends with .pub, and has one line: ssh-ed25519 AAAA… comment"
_LARGEST = 1 << 20  # bytes of a file of a key


def _told_apart(value: object) -> str | Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a key is a text or a path")
    return value if _PUBLIC_KEY.match(value) or "PRIVATE KEY" in value else Path(value)


PublicKey = Annotated[
    str | Path, PlainValidator(_told_apart), WithJsonSchema({"type": "string", "pattern": r"^[^\u0000]+$"})
]
"""A key itself, as in authorized_keys, or the file of one."""


def public_key(key: str | Path) -> str:
    """Return a key's line for authorized_keys; ValueError, which never shows it, for what is no public key."""
    if isinstance(key, Path):
        with key.open("rb") as file:
            key = file.read(_LARGEST).decode("utf-8", "replace")
    if "PRIVATE KEY" in key:
        raise ValueError("is a private key")
    words = key.strip().split(maxsplit=2)
    try:
        blob = base64.b64decode(words[1], validate=True)
        good = blob[4 : 4 + int.from_bytes(blob[:4], "big")] == words[0].encode()  # RFC 4253, 6.6
    except (IndexError, ValueError, binascii.Error):
        good = False
    if not good or not key.strip().isprintable():
        raise ValueError("is no public key of OpenSSH's")
    return key.strip()
