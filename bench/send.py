"""One upload to bench.host, as a process of its own: send.py HOW FILE PORT CERTIFICATE.

HOW is `imagekit` (publish/xapi's Sender, a VHD made of the file as it goes) or `bare` (a TLS socket that sends as
many bytes, all of them in memory). Prints seconds, bytes sent and peak memory.
"""

import os
import resource
import socket
import ssl
import sys
import time
from pathlib import Path

from imagekit.publish import nobody
from imagekit.publish.xapi.address import address_of
from imagekit.publish.xapi.credentials import Credentials
from imagekit.publish.xapi.goods import Goods
from imagekit.publish.xapi.handler import Tasks
from imagekit.publish.xapi.importing import Sender, Upload
from imagekit.publish.xapi.session import Session
from imagekit.publish.xapi.trust import Trust
from imagekit.unwrap import opened


def nothing(*_: object) -> None:
    """Tell nobody."""


def main() -> None:
    """Upload once."""
    how, path, port, certificate = sys.argv[1:]
    with opened(Path(path), None) as disk:
        upload = Goods(disk, None).upload("vhd")
        seconds = bare(upload.length, port, certificate) if how == "bare" else ours(upload, port, certificate)
    print(seconds, upload.length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def ours(upload: Upload, port: str, certificate: str) -> float:
    """Send an upload, and wait for its task."""
    trust = Trust((), Path(certificate), Path("/nonexistent"), nobody)
    session = Session(address_of(f"127.0.0.1:{port}"), trust, Credentials("root", "x"))
    sender = Sender(session, Tasks(session, "bench", nothing, nothing), 60.0, nothing, nothing)
    began = time.monotonic()
    sender.send("OpaqueRef:1", upload)
    return time.monotonic() - began


def bare(length: int, port: str, certificate: str) -> float:
    """Send so many bytes, and wait for the word that they were read."""
    piece = os.urandom(1 << 21)
    context = ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection(("127.0.0.1", int(port))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        began = time.monotonic()
        sock.sendall(b"GO / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length)
        for at in range(0, length, len(piece)):
            sock.sendall(memoryview(piece)[: length - at])
        sock.recv(4)
        return time.monotonic() - began


if __name__ == "__main__":
    main()
