"""The packages of a mirror: a digest of its lists, from a real server of this machine."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from imagekit.errors import TryAgainError
from imagekit.recipe import read
from imagekit.systems import tree_step
from imagekit.systems.packages import apt_lines, digests, lists_digest

RELEASE = """Hash: SHA256

Origin: Debian
Date: {date}
MD5Sum:
 {md5} 1 main/binary-amd64/Packages
SHA256:
 {main} 47 main/binary-amd64/Packages
 {main} 12 main/binary-amd64/Packages.xz
 {arm} 13 main/binary-arm64/Packages
 {contrib} 14 contrib/binary-amd64/Packages.gz
-----BEGIN PGP SIGNATURE-----
"""
PLAIN = {"date": "today", "md5": "0" * 32, "main": "1" * 64, "arm": "2" * 64, "contrib": "3" * 64}


@pytest.mark.parametrize(
    "change, components, same",
    [
        ({"date": "tomorrow"}, ("main",), True),
        ({"arm": "f" * 64}, ("main",), True),
        ({"contrib": "f" * 64}, ("main",), True),
        ({"contrib": "f" * 64}, ("main", "contrib"), False),
        ({"contrib": "f" * 64}, (), False),
        ({"main": "f" * 64}, ("main",), False),
        ({"md5": "f" * 32}, ("main",), True),
    ],
)
def test_only_the_lists_count(change: dict[str, str], components: tuple[str, ...], same: bool) -> None:
    before = lists_digest(RELEASE.format(**PLAIN), components)
    assert (before == lists_digest(RELEASE.format(**{**PLAIN, **change}), components)) == same


def test_a_release_without_lists_counts_as_a_whole() -> None:
    assert lists_digest("a", ()) != lists_digest("b", ())
    assert len(lists_digest("", ("main",))) == 64


def test_lines() -> None:
    conf = (
        "default:deb http://a.example/debian/ bookworm main contrib\n\nx: deb [trusted=yes] http://b.example s\nno"
    )
    assert list(apt_lines(conf)) == [
        ("http://a.example/debian", "bookworm", ("main", "contrib")),
        ("http://b.example", "s", ()),
    ]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return a server's address, and the InRelease that it has; gone once the file is."""
    suite = tmp_path / "mirror" / "dists" / "bookworm"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text(RELEASE.format(**PLAIN))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "mirror"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", suite / "InRelease"
        server.shutdown()


def test_a_mirror_that_is_silent_later(mirror: tuple[str, Path], tmp_path: Path) -> None:
    address, release = mirror
    conf, memory = f"default:deb {address} bookworm main", tmp_path / "memory"
    found, silent = digests(conf, memory)
    assert (list(found), silent) == ([f"{address} bookworm"], [])
    release.unlink()
    assert digests(conf, memory) == (found, [address])
    with pytest.raises(TryAgainError, match="which packages bookworm has is not known"):
        digests(conf.replace("main", "contrib"), memory)


def test_the_mirrors_that_a_recipe_names(mirror: tuple[str, Path], tmp_path: Path) -> None:
    address, release = mirror
    for suite in ("bookworm-updates", "bookworm-security"):
        (release.parents[1] / suite).mkdir()
        (release.parents[1] / suite / "InRelease").write_text(RELEASE.format(**PLAIN))
    (tmp_path / "os.toml").write_text(
        f"""
        [root]
        from = "diskimage-builder"
        [root.diskimage-builder]
        elements = ["debian-minimal"]
        release = "bookworm"
        [root.diskimage-builder.environment]
        DIB_DISTRIBUTION_MIRROR = "{address}"
        DIB_DEBIAN_SECURITY_MIRROR = "{address}"
        """
    )
    (image,) = read(tmp_path / "os.toml", {}, {})
    step, silent = tree_step(image, 1, tmp_path / "memory")
    assert silent == []
    assert sorted(cast("dict[str, str]", step.options["lists"])) == [
        f"{address} bookworm",
        f"{address} bookworm-security",
        f"{address} bookworm-updates",
    ]
    again, _ = tree_step(image, 1, tmp_path / "memory")
    assert again.options == step.options
    release.write_text(RELEASE.format(**{**PLAIN, "main": "f" * 64}))
    newer, _ = tree_step(image, 1, tmp_path / "memory")
    assert newer.options != step.options
