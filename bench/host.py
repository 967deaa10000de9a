"""A pool's host over TLS that answers what an upload asks and keeps nothing: what is left is the client's cost.

host.py FOLDER; prints its port. Its certificate is FOLDER/certificate.pem. PUT: 200 before the body, which is read
and dropped. POST: the task has succeeded, whatever is asked. Anything else: a bare stream, read to its end.
"""

import socket
import ssl
import sys
import threading
import xmlrpc.client
from pathlib import Path

from imagekit.rehearsal.certificate import certify

HEAD = 8192
TASK = {"status": "success", "progress": 1.0, "error_info": [], "result": ""}


def serve(plain: socket.socket, context: ssl.SSLContext) -> None:
    """Answer one connection until it ends."""
    room = memoryview(bytearray(1 << 20))
    try:
        with context.wrap_socket(plain, server_side=True) as kept:
            while one(kept, room):
                pass
    except OSError:
        pass


def one(kept: ssl.SSLSocket, room: memoryview) -> bool:
    """Read one request and answer it."""
    have = 0
    while (end := bytes(room[:have]).find(b"\r\n\r\n")) < 0:
        got = kept.recv_into(room[have:HEAD])
        if not got:
            return False
        have += got
    head = bytes(room[:end])
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    left = int(fields.get(b"content-length", b"0")) - (have - end - 4)
    if head.startswith(b"PUT"):
        kept.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    body = bytes(room[end + 4 : have])
    while left > 0:
        got = kept.recv_into(room[: min(left, len(room))])
        if not got:
            return False
        if head.startswith(b"POST"):
            body += bytes(room[:got])
        left -= got
    if head.startswith(b"POST"):
        _call(kept, body)
    elif not head.startswith(b"PUT"):
        kept.sendall(b"done")
    return True


def _call(kept: ssl.SSLSocket, body: bytes) -> None:
    _, method = xmlrpc.client.loads(body)
    value = TASK if method == "task.get_record" else "success" if method == "task.get_status" else "OpaqueRef:1"
    said = xmlrpc.client.dumps(({"Status": "Success", "Value": value},), methodresponse=True).encode()
    kept.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(said) + said)


def main() -> None:
    """Serve until killed."""
    context, _ = certify(Path(sys.argv[1]))
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    print(listener.getsockname()[1], flush=True)
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=serve, args=(plain, context), daemon=True).start()


if __name__ == "__main__":
    main()
