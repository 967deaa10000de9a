"""`python -m imagekit.rehearsal`: a rehearsed account as a process of its own.

One line of JSON on stdout says where it is. It ends on SIGTERM and when its stdin is closed, so that it never
outlives the program that started it.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from imagekit.errors import ImagekitError
from imagekit.rehearsal.account import Rehearsal
from imagekit.rehearsal.settings import AccountSettings


def main() -> int:
    """Serve until told to end."""
    asked = _parser().parse_args()
    try:
        settings = AccountSettings().with_json(asked.settings)
        regions = tuple(asked.region) or settings.regions
        settings = replace(
            settings,
            regions=regions,
            buckets=(*settings.buckets, *asked.bucket),
            faults=(*settings.faults, *asked.fault),
        )
        asked.folder.mkdir(parents=True, exist_ok=True)
        with Rehearsal(asked.folder, settings) as account:
            _serve(account, stay=asked.stay)
    except ImagekitError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


def _serve(account: Rehearsal, *, stay: bool) -> None:
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if not stay:
        Thread(target=_listen, args=(over,), daemon=True).start()
    keys = account.settings.keys
    said = {
        "url": account.url,
        "certificate": str(account.trusted),
        "access": keys.access,
        "secret": keys.secret,
        "token": keys.token,
        "owner": account.settings.owner,
        "regions": list(account.settings.regions),
        "endpoints": dict.fromkeys(("ebs", "ec2", "s3", "sts"), account.url),
        "environment": account.environment,
        "calls": str(account.log),
        "process": os.getpid(),
    }
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    over.wait()


def _listen(over: Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m imagekit.rehearsal", description="A rehearsed AWS account.")
    parser.add_argument("--folder", type=Path, required=True, help="where blocks, certificate and calls.jsonl go")
    parser.add_argument("--region", action="append", default=[], help="a region of the account (all, without)")
    parser.add_argument("--bucket", action="append", default=[], metavar="NAME@REGION", help="a bucket to make")
    parser.add_argument("--settings", default="{}", metavar="JSON", help="how the services behave")
    parser.add_argument("--fault", action="append", default=[], metavar="'ACTION NTH KIND'", help="a fault")
    parser.add_argument("--stay", action="store_true", help="do not end when stdin is closed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
