"""An xl for tests: it keeps its domains in a file, and says what the real one says (Xen's tools/xl).

What a domain of a name does is in `behaviour.json`: `console` (what it says), `dies` (seconds after it is
unpaused), `reason` (the code of that), `refused` (why it cannot be created); `only` a text of its configuration.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = Path(os.environ["XL_STATE"])
LOGS = Path(os.environ["XEN_LOG_DIR"])
CAPABILITIES = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64"


@contextmanager
def domains() -> Iterator[dict[str, Any]]:
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = STATE / "domains.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        yield found
        path.with_suffix(".new").write_text(json.dumps(found))
        path.with_suffix(".new").replace(path)


def behaviour(name: str, text: str) -> dict[str, Any]:
    path = STATE / "behaviour.json"
    found: dict[str, Any] = json.loads(path.read_text()).get(name, {}) if path.exists() else {}
    return found if found.get("only", "") in text else {}


def fail(words: str, code: int) -> None:
    print(words, file=sys.stderr)
    sys.exit(code)


def the(found: dict[str, Any], name: str) -> str:
    """Return the id of a domain that is named, or whose id is given."""
    known = next((domid for domid, one in found.items() if name in {domid, one["name"]}), None)
    if known is None:
        fail(f"{name} is an invalid domain identifier (rc=-6)", 2)
    assert known is not None
    return known


def setting(text: str, name: str) -> str:
    match = re.search(rf'^{name} = "([^"]*)"', text, re.MULTILINE)
    return match[1] if match else ""


def create(*arguments: str) -> None:
    paused = "-p" in arguments
    path = Path(arguments[-1])
    print(f"Parsing config from {path}", file=sys.stderr)
    text = path.read_text()
    name = setting(text, "name")
    if "refused" in behaviour(name, text):
        why = behaviour(name, text)["refused"]
        fail(f"libxl: error: libxl_create.c:1720:domcreate_attach_devices: {why}", 3)
    for escaped in re.findall(r'target=((?:[^"\\]|\\.)*)"', text):
        disk = re.sub(r"\\(.)", r"\1", escaped)
        if not Path(disk).is_file():
            fail(f"libxl: error: libxl_disk.c:187:libxl__device_disk_setdefault: failed to stat {disk}", 3)
    with domains() as found:
        if any(one["name"] == name for one in found.values()):
            fail(
                f'libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain with name "{name}" already exists.',
                3,
            )
        last = STATE / "last"
        domid = str(int(last.read_text()) + 1 if last.exists() else 1)
        last.write_text(domid)
        found[domid] = {"name": name, "uuid": setting(text, "uuid"), "paused": paused, "text": text}
    (LOGS / f"xl-{name}.log").write_text(f"Waiting for domain {name} (domid {domid}) to die [pid 1]\n")
    if not paused:
        unpause(domid)


def unpause(name: str) -> None:
    with domains() as found:
        domid = the(found, name)
        found[domid]["paused"] = False
        known = behaviour(found[domid]["name"], found[domid]["text"])
    if "dies" in known:
        subprocess.Popen(
            [sys.executable, __file__, "_die", domid, str(known["dies"]), str(known.get("reason", 3))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def die(domid: str, after: str, reason: str) -> None:
    time.sleep(float(after))
    with domains() as found:
        name = found.pop(domid)["name"]
    with (LOGS / f"xl-{name}.log").open("a") as log:
        log.write(f"Domain {domid} has shut down, reason code {reason} {int(reason):#x}\nDone. Exiting now\n")


def console(name: str) -> None:
    with domains() as found:
        domid = the(found, name)
        words = behaviour(found[domid]["name"], found[domid]["text"]).get("console", "")
    said = False
    while True:
        with domains() as found:
            if domid not in found:
                return
            runs = not found[domid]["paused"]
        if runs and not said:
            print(words, flush=True)
            said = True
        time.sleep(0.02)


def info() -> None:
    print(f"host                   : dom0\nxen_caps               : {os.environ.get('XL_CAPS', CAPABILITIES)}")


def vm_list() -> None:
    print("UUID                                  ID    name\n00000000-0000-0000-0000-000000000000  0    Domain-0")
    with domains() as found:
        for domid, one in found.items():
            print(f"{one['uuid']}  {domid}    {one['name']:<30}")


def destroy(name: str) -> None:
    with domains() as found:
        del found[the(found, name)]


def pause(name: str) -> None:
    with domains() as found:
        found[the(found, name)]["paused"] = True


def rename(name: str, other: str) -> None:
    with domains() as found:
        domid = the(found, name)
        if any(one["name"] == other for one in found.values()):
            fail(f'Domain with name "{other}" already exists.', 1)
        found[domid]["name"] = other


COMMANDS: dict[str, Callable[..., None]] = {
    "info": info,
    "vm-list": vm_list,
    "create": create,
    "destroy": destroy,
    "pause": pause,
    "unpause": unpause,
    "rename": rename,
    "console": console,
    "_die": die,
}


def main() -> None:
    command, *arguments = sys.argv[1:]
    with (STATE / "calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    if command not in COMMANDS:
        fail(f"command not implemented: {command}", 1)
    COMMANDS[command](*arguments)


main()
