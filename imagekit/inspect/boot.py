"""Which boot loaders will find the kernel of a disk, and why the others will not.

Each loader of loaders.py is followed link by link: file system, menu, entry, root, kernel, entry point. The first
link that breaks gives the reason.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from imagekit.inspect import kernels, menus, script
from imagekit.inspect.bios import BootSector
from imagekit.inspect.loaders import GRUB_BIOS, LOADERS, PYGRUB, Loader, grub_bios
from imagekit.inspect.report import Entry, Kernel, Link, Menu, Verdict
from imagekit.inspect.volumes import Volume

_DEVICE = re.compile(r"\(([^)]*)\)(.*)", re.DOTALL)
_DISK = re.compile(r"\(?(?:hd0|xen/\w+)(?:,(?P<scheme>msdos|gpt)?(?P<number>\d{1,4}))?\)?")
_PYGRUB_ROOT = re.compile(r"\(?(?:[^,()]{2}\d+|/dev/xvd[a-z])(?:,(?:msdos|gpt)?\d+)?\)?")
_MOST_KERNELS = 16


@dataclass(frozen=True, slots=True)
class Site:
    """A file system's place on the disk: partition 0 is all of it; without a volume only its name is known."""

    partition: int
    kind: str
    volume: Volume | None

    @property
    def name(self) -> str:
        """The place, for people."""
        return f"partition {self.partition}" if self.partition else "the whole disk"


@dataclass(slots=True)
class Scene:
    """The disk as boot loaders meet it; menus and kernels are read once, when asked for."""

    sites: Sequence[Site]
    sector: BootSector = field(default_factory=BootSector)
    _menus: dict[tuple[int, str], Menu | None] = field(default_factory=dict)
    _kernels: dict[tuple[int, str], Kernel | None] = field(default_factory=dict)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels that menus led to."""
        return tuple(kernel for kernel in self._kernels.values() if kernel)

    @property
    def menus(self) -> tuple[Menu, ...]:
        """Every menu that a loader could read, whether or not one does."""
        found = (self.menu(site, path) for site in self.sites for path in PYGRUB.menus if "linux" not in path)
        return tuple(menu for menu in found if menu)

    def has(self, site: Site, path: str) -> bool:
        """Tell whether a site has a file at a path."""
        node = site.volume.find(path) if site.volume else None
        return node is not None and node.kind == "file"

    def menu(self, site: Site, path: str) -> Menu | None:
        """Return the menu at a path."""
        key = (site.partition, path)
        if key not in self._menus:
            node = site.volume.find(path) if site.volume else None
            raw = site.volume.read(node, menus.LIMIT) if site.volume and node and node.kind == "file" else None
            self._menus[key] = None if raw is None else menus.parse(path, site.partition, raw)
        return self._menus[key]

    def kernel(self, site: Site, path: str) -> Kernel | None:
        """Return the kernel at a path."""
        key = (site.partition, path)
        if key not in self._kernels and len(self._kernels) < _MOST_KERNELS:
            node = site.volume.find(path) if site.volume else None
            if site.volume is None or node is None or node.kind != "file":
                self._kernels[key] = None
            elif node.size > kernels.LARGEST:
                problem = f"larger than {kernels.LARGEST >> 20} MiB: not read"
                self._kernels[key] = Kernel(path, site.partition, node.size, "not read", problem=problem)
            else:
                data = site.volume.read(node, kernels.LARGEST)
                self._kernels[key] = kernels.describe(path, site.partition, data)
        return self._kernels.get(key)


@dataclass(slots=True)
class _Trail:
    """A chain under way."""

    loader: Loader
    links: list[Link] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    passed: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.links.append(Link("loader", self.loader.name))

    def reach(self, link: Link) -> None:
        self.links.append(link)

    def skip(self, why: str) -> None:
        self.skipped.append(why)

    def fails(self, why: str, link: Link | None = None) -> Verdict:
        broken = [link] if link else []
        return Verdict(self.loader.name, boots=False, why=(*self.skipped, why), chain=(*self.links, *broken))

    def unsure(self, why: str) -> Verdict:
        return Verdict(self.loader.name, boots=None, why=(*self.skipped, why), chain=tuple(self.links))


def judge_all(scene: Scene) -> tuple[Verdict, ...]:
    """Follow every known boot loader."""
    return (*(judge(loader, scene) for loader in LOADERS), _judge_sector(scene))


def _judge_sector(scene: Scene) -> Verdict:
    """Follow GRUB from the disk's own boot sector."""
    sector, loader = scene.sector, (Link("loader", GRUB_BIOS),)
    if sector.core is None:
        return Verdict(GRUB_BIOS, boots=None if sector.code else False, why=(sector.problem,), chain=loader)
    if sector.place is None:
        why = f"it looks into {sector.core.prefix!r}, and imagekit does not follow it there"
        return Verdict(GRUB_BIOS, boots=None, why=(why,), chain=loader)
    verdict = judge(grub_bios(sector.core, *sector.place), scene)
    site = next((site for site in scene.sites if site.partition == sector.place[0]), None)
    if not verdict.boots or site is None or site.volume is None:
        return verdict
    return script.judged(verdict, sector.core, site.volume, site.kind)


def judge(loader: Loader, scene: Scene) -> Verdict:
    """Follow one boot loader through its menus until one holds, or until none is left."""
    trail = _Trail(loader)
    if loader.first and any(scene.has(site, loader.first) for site in scene.sites):
        return trail.unsure(f"it starts {loader.first} before any menu, and what that does is its own")
    for site in scene.sites:
        verdict = _judge_at(trail, scene, site)
        if verdict:
            return verdict
    if trail.passed:
        trail.links += trail.passed
        return Verdict(loader.name, boots=False, why=tuple(trail.skipped), chain=tuple(trail.links))
    return trail.fails(_nothing_found(loader))


def _judge_at(trail: _Trail, scene: Scene, site: Site) -> Verdict | None:
    """Follow the first menu of one place; None when the loader goes on to the next place."""
    paths = trail.loader.paths(site.partition)
    if not paths:
        return None
    if site.kind not in trail.loader.filesystems:
        trail.skip(f"it does not read {site.kind} ({site.name})")
        return None
    if site.volume is None:
        return trail.unsure(f"{site.kind} on {site.name}: imagekit cannot look inside")
    path = next((path for path in paths if scene.has(site, path)), None)
    return None if path is None else _follow(trail, scene, site, path)


def _nothing_found(loader: Loader) -> str:
    return f"it finds no {' and no '.join(loader.menus[:2]) if len(loader.menus) < 3 else 'menu'}"  # noqa: PLR2004


def _follow(trail: _Trail, scene: Scene, site: Site, path: str) -> Verdict | None:
    """Follow one menu; None when the loader passes over it to the next place."""
    loader = trail.loader
    if not path.endswith((".cfg", ".lst", "grub.conf")) or "linux" in path:
        return trail.unsure(f"it reads {path} first, a kind of menu that imagekit does not")
    menu = scene.menu(site, path)
    if menu is None:
        return None
    entry = menu.chosen
    objection = _against_menu(loader, menu, entry)
    here = [Link("disk", f"{site.kind} on {site.name}"), Link("menu", path, holds=not objection)]
    if objection and loader is PYGRUB:
        trail.skip(objection)
        trail.passed = trail.passed or here
        return None
    trail.links += here
    if objection or entry is None:
        return trail.fails(objection)
    trail.reach(Link("entry", entry.title or "(no title)"))
    return _to_kernel(trail, scene, site, menu, entry)


def _against_menu(loader: Loader, menu: Menu, entry: Entry | None) -> str:
    """Return what stops a loader at a menu, or nothing."""
    if loader is not PYGRUB and menus.SYNTAX in menu.problems:
        return f"{menu.path}: {menus.SYNTAX}"
    if entry is None:
        return f"{menu.path} has no entry"
    return _against_entry(loader, menu, entry)


def _against_entry(loader: Loader, menu: Menu, entry: Entry) -> str:
    if not entry.kernel:
        return f"the entry of {menu.path} names no kernel"
    if entry.command not in loader.starts:
        return f"{menu.path} says `{entry.command}`, which it does not understand"
    if loader is PYGRUB and entry.root not in {"", menus.SEARCHED} and not _PYGRUB_ROOT.fullmatch(entry.root):
        return f"it cannot make sense of root {entry.root} in {menu.path}"
    if loader.waits and (menu.timeout is None or menu.timeout < 0) and entry.title != menus.TOP:
        return f"{menu.path} has no timeout: it waits for a key that nobody presses"
    return "" if entry.boots else f"{menu.path} loads a kernel outside every entry, and never says `boot`"


def _to_kernel(trail: _Trail, scene: Scene, site: Site, menu: Menu, entry: Entry) -> Verdict:
    device, path = _split_device(entry.kernel)
    root = device or entry.root or menu.root
    if trail.loader.obeys_root and root:
        there = _site_of(root, menu, scene.sites)
        if there is None:
            return trail.fails(_wrong_root(root, scene.sites), Link("kernel", f"{root}{path}", holds=False))
        site = there
    kernel = scene.kernel(site, path)
    if kernel is None:
        return trail.fails(f"{path} is not on {site.name}", Link("kernel", path, holds=False))
    trail.reach(Link("kernel", f"{path}, {kernel.summary}", holds=not kernel.problem))
    if kernel.problem:
        return trail.fails(f"{path}: {kernel.problem}")
    return _start(trail, menu, entry, kernel)


def _start(trail: _Trail, menu: Menu, entry: Entry, kernel: Kernel) -> Verdict:
    wanted = trail.loader.starts[entry.command]
    ways = [way for way in kernel.ways if way.name in wanted]
    good = [way for way in ways if way.boots]
    if not good:
        reasons = "; ".join(dict.fromkeys(way.why for way in ways))
        return trail.fails(f"it cannot start {kernel.path}: {reasons}", Link("start", ways[0].door, holds=False))
    trail.reach(Link("start", " or ".join(way.door for way in good)))
    wait = f" after {menu.timeout} s" if trail.loader.waits and menu.timeout else ""
    found = f"{menu.path} starts {kernel.path}{wait}"
    starts = tuple(way.name for way in good)
    why = (*trail.skipped, found)
    return Verdict(trail.loader.name, boots=True, why=why, chain=tuple(trail.links), starts=starts)


def _split_device(path: str) -> tuple[str, str]:
    found = _DEVICE.fullmatch(path)
    return (f"({found[1]})", found[2]) if found else ("", path)


def _site_of(root: str, menu: Menu, sites: Sequence[Site]) -> Site | None:
    """Return where a root points: GRUB Legacy counts partitions from 0, GRUB 2 from 1; a variable stays here."""
    if "$" in root or root == menus.SEARCHED:
        return next(site for site in sites if site.partition == menu.partition)
    found = _DISK.fullmatch(root)
    if found is None:
        return None
    number = 0 if found["number"] is None else int(found["number"]) + (menu.dialect == "menu.lst")
    return next((site for site in sites if site.partition == number), None)


def _wrong_root(root: str, sites: Sequence[Site]) -> str:
    there = "; ".join(_described(sites)) or "no file system"
    return f"root {root} is not on this disk, which has {there}"


def _described(sites: Sequence[Site]) -> Iterator[str]:
    for site in sites:
        name = f"(hd0,{site.partition - 1})" if site.partition else "(hd0)"
        yield f"{site.kind} on {name}"
