"""A tree by diskimage-builder: the step as data, and the function that runs it.

It runs in namespaces of its own: its mounts are nobody else's, and they and its processes are gone when it ends,
however that comes (docs/decisions/0015). Loop devices are the kernel's: the store detaches what a killed run left.
"""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from imagekit import command, events
from imagekit.errors import BuildError, RecipeError, ToolError
from imagekit.plan import Input, Json, Source, Step
from imagekit.recipe import DiskImageBuilder, Image
from imagekit.systems import elements, needs, packages, sources, static_dev
from imagekit.systems.hooks import Hooks

_ELEMENT = "element-"
_TIMEOUT = 7200  # seconds
_TAIL = 40  # lines of the log that an error shows
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_LABEL = "root"
# In the namespace: what the host's own file system table is there stays there, too.
_ENTER = '[ ! -e /etc/fstab ] || mount --bind "$0" /etc/fstab; exec "$@"'


def tree_step(image: Image, epoch: int, memory: Path) -> tuple[Step, list[str]]:
    """Return the step that makes an image's tree, and which mirrors did not answer.

    RecipeError for elements that are not there. `memory` is the folder in which the mirrors' digests are kept.
    """
    table = image.root.diskimage_builder
    folders = [*table.elements_path, elements.OURS, elements.shipped()]
    wanted = [*table.elements, elements.ALWAYS]
    found = elements.resolved(wanted, folders)
    environment = {**_environment(table, found), **table.environment}
    conf = environment.get("DIB_APT_SOURCES_CONF", "")
    lists, silent = packages.digests(conf, memory) if conf else ({}, [])
    options: dict[str, Json] = {
        "elements": wanted,
        "all": list(found),
        "packages": list(table.packages),
        "environment": environment,
        "arch": table.arch,
        "label": image.filesystem.label or _LABEL,
        "filesystem": image.filesystem.type,
        "epoch": epoch,
        "lists": lists,
        "version": _version(),
    }
    # Those of diskimage-builder's own are told by its version.
    own = {name: path for name, path in found.items() if path.parent != folders[-1]}
    inputs: dict[str, Source | Step] = {f"{_ELEMENT}{name}": Source(path) for name, path in own.items()}
    return Step("diskimage-builder", write_tree, inputs, options, revision=2, needs=("os",)), silent


def write_tree(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Make the tree and write it as a tar. A step function; BuildError when an element fails.

    Inputs: `element-NAME`, folders. Options: see `tree_step`.
    """
    if missing := needs.lacking(cast("list[str]", options["all"])):
        raise needs.refused(missing)
    work = out.with_name("dib")
    for name in ("elements", "home", "tmp"):
        (work / name).mkdir(parents=True)
    found = {name: elements.shipped() / name for name in cast("list[str]", options["all"])}
    for name, source in inputs.items():
        found[name.removeprefix(_ELEMENT)] = source.path
        (work / "elements" / source.path.name).symlink_to(source.path)
    (work / "fstab").write_bytes(Path("/etc/fstab").read_bytes() if Path("/etc/fstab").exists() else b"")
    hooks = Hooks(found, events.phase)
    log = events.log()
    try:
        command.follow(
            "unshare",
            *_arguments(work, options),
            line=hooks.line,
            log=log,
            env=_set(work, options),
            timeout=_TIMEOUT,
        )
    except ToolError as error:
        raise BuildError(
            hooks.failed(), details=f"{error.brief}\n{_tail(log)}".rstrip(), hint=f"the whole log: {log}"
        ) from error
    static_dev.settle(work / "tree.tar", out)
    (work / "tree.tar").unlink()


def _arguments(work: Path, options: Mapping[str, Json]) -> list[str | Path]:
    extra = cast("list[str]", options["packages"])
    return [
        *("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", _ENTER, work / "fstab"),
        *(needs.builder() or "disk-image-create", "-n", "-t", "tar", "-o", work / "tree"),
        *("-a", cast("str", options["arch"]), "--root-label", cast("str", options["label"])),
        *(("-p", ",".join(extra)) if extra else ()),
        *cast("list[str]", options["elements"]),
    ]


def _set(work: Path, options: Mapping[str, Json]) -> dict[str, str]:
    """Return the variables of a run: its own folders, proxies, and what the recipe says."""
    return {
        **{name: os.environ[name] for name in _PROXIES if name in os.environ},
        "HOME": str(work / "home"),
        "USER": "root",
        "TMPDIR": str(work / "tmp"),
        "TMP_DIR": str(work / "tmp"),
        "DIB_IMAGE_CACHE": str(work / "cache"),
        "DIB_LOCKFILES": str(work / "locks"),
        "ELEMENTS_PATH": str(work / "elements"),
        "SOURCE_DATE_EPOCH": str(options["epoch"]),
        "IMAGEKIT_FILESYSTEM": cast("str", options["filesystem"]),
        # Files on a disk, so that a dead run's loop devices can be told by them; memory is for others.
        "DIB_NO_TMPFS": "1",
        "DIB_JOURNAL_SIZE": "4",  # MB; a small tree's image has no room for the usual 64
        **cast("dict[str, str]", options["environment"]),
    }


def _environment(table: DiskImageBuilder, found: Mapping[str, Path]) -> dict[str, str]:
    """Return what the machine and the table settle: the release and, for Debian, where packages come from."""
    release = {"DIB_RELEASE": table.release} if table.release else {}
    if "debian-minimal" not in found or "DIB_APT_SOURCES_CONF" in table.environment:
        return release
    said, name = table.environment, table.release or "stable"
    archive, security = sources.mirrors(name, sources.own_release(), sources.entries())
    archive = said.get("DIB_DEBIAN_DISTRIBUTION_MIRROR") or said.get("DIB_DISTRIBUTION_MIRROR") or archive
    security = said.get("DIB_DEBIAN_SECURITY_MIRROR") or security
    rolling = name in {"testing", "unstable"}
    if not archive or not (security or rolling):
        raise RecipeError(
            f"no mirror of Debian {name} is known: this machine's apt has none",
            hint="root.diskimage-builder.environment names DIB_DISTRIBUTION_MIRROR and DIB_DEBIAN_SECURITY_MIRROR",
        )
    components = said.get("DIB_DEBIAN_COMPONENTS", "main").replace(",", " ")
    # As debian-minimal writes them, environment.d/10-debian-minimal.bash.
    lines = [f"default:deb {archive} {name} {components}"]
    if not rolling:
        suite = f"{name}-security{said.get('DIB_DEBIAN_SECURITY_SUBPATH', '')}"
        lines.append(f"updates:deb {archive} {name}-updates {components}")
        lines.append(f"security:deb {security} {suite} {components}")
    return {**release, "DIB_DISTRIBUTION_MIRROR": archive, "DIB_APT_SOURCES_CONF": "\n".join(lines)}


def _version() -> str:
    try:
        return version("diskimage-builder")
    except PackageNotFoundError:
        return "unknown"


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="backslashreplace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL:])
