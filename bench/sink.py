"""A server over TLS that takes blocks as the EBS direct APIs do and keeps none: what is left is the client's cost.

sink.py FOLDER [LATENCY]; prints its port. Its certificate is FOLDER/certificate.pem. LATENCY, in seconds, is a
round trip's: an answer costs one, a new connection two (TCP's handshake and TLS 1.3's).
"""

import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from imagekit.rehearsal.certificate import certify

HEAD = 8192


def serve(plain: socket.socket, context: ssl.SSLContext, latency: float) -> None:
    """Answer one connection until it ends."""
    room = memoryview(bytearray(1 << 20))
    time.sleep(2 * latency)
    try:
        with context.wrap_socket(plain, server_side=True) as kept:
            while one(kept, room, latency):
                pass
    except OSError:
        pass


def one(kept: ssl.SSLSocket, room: memoryview, latency: float) -> bool:
    """Read one request and answer it."""
    have = 0
    while (end := bytes(room[:have]).find(b"\r\n\r\n")) < 0:
        got = kept.recv_into(room[have:HEAD])
        if not got:
            return False
        have += got
    fields = dict(line.lower().split(b": ", 1) for line in bytes(room[:end]).split(b"\r\n")[1:] if b": " in line)
    if b"100-continue" in fields.get(b"expect", b""):
        kept.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    left = int(fields.get(b"content-length", b"0")) - (have - end - 4)
    while left > 0:
        got = kept.recv_into(room[HEAD : HEAD + left])
        if not got:
            return False
        left -= got
    if latency:
        time.sleep(latency)
    checksum = bytes(room[:end]).lower().find(b"x-amz-checksum: ") + 16
    value = bytes(room[checksum : checksum + 44])
    kept.sendall(
        b"HTTP/1.1 201 Created\r\nx-amz-Checksum: " + value + b"\r\nx-amz-Checksum-Algorithm: SHA256\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    return True


def main() -> None:
    """Serve until killed."""
    latency = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0  # noqa: PLR2004 -- the third word
    context, _ = certify(Path(sys.argv[1]))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(plain, context, latency), daemon=True).start()


if __name__ == "__main__":
    main()
