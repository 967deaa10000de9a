"""`imagekit worker`."""

import os
import socket
import sys
from typing import Annotated

import typer

from imagekit.cli import shared as farm
from imagekit.cli.console import cache_dir, tell
from imagekit.errors import UsageError

_MANY = 1 << 20  # of an ability that any number of steps may use at once


def worker(
    dask: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- DASK OPTION...]", help="Options of `dask worker`."),
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="URL", envvar="IMAGEKIT_SCHEDULER", help="tcp://HOST:8786.")
    ] = "",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Steps at a time.")] = os.cpu_count() or 1,
    can: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="What it can: root, os, namespaces, grub, qemu. Else it finds out."),
    ] = None,
    qemu: Annotated[int, typer.Option("--qemu", min=1, help="Steps in a QEMU at a time.")] = 1,
    store_url: farm.Url = None,
    trust: farm.Trusted = None,
    trust_unsigned: farm.Unsigned = False,
    store_key: farm.Writer = None,
) -> None:
    """Run steps for a Dask scheduler, until it is ended: `dask worker` with what this machine can.

    imagekit worker --scheduler tcp://10.0.0.1:8786 --store s3://farm/store --store-key key.pem
    """
    from imagekit.farm import NAMES, abilities  # noqa: PLC0415 -- --help need not import it
    from imagekit.farm.work import ACCESS, CACHE  # noqa: PLC0415

    if not scheduler:
        raise UsageError("no scheduler", hint="--scheduler tcp://HOST:8786, which `dask scheduler` starts")
    access = farm.wanted(store_url, trust, unsigned=trust_unsigned, required=True, writer=store_key)
    if access is None or not access.open().writes:
        raise UsageError("a worker writes to a shared store", hint="--store URL --store-key FILE")
    named = tuple(can.split(",")) if can else abilities() if can is None else ()
    if unknown := set(named) - set(NAMES):
        raise UsageError(f"--can {','.join(unknown)}: unknown", hint=f"there are {', '.join(NAMES)}")
    tell(f"this machine can: {', '.join(named) or 'the usual'}")
    os.environ[ACCESS], os.environ[CACHE] = access.to_text(), str(cache_dir().absolute())
    amounts = " ".join(f"{name}={qemu if name == 'qemu' else _MANY}" for name in named)
    options = {
        "--nthreads": str(threads),
        "--name": f"{socket.gethostname()}-{os.getpid()}",
        "--local-directory": str(cache_dir().absolute() / "dask"),
        "--memory-limit": "0",  # of steps most memory is that of tools, which Dask does not see
        **({"--resources": amounts} if amounts else {}),
    }
    words = [word for option in options.items() for word in option]
    module = ("-m", "distributed.cli.dask_worker", scheduler, "--no-dashboard")
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *module, *words, *(dask or ())])  # noqa: S606 -- no shell
