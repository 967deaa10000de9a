"""The options of a shared store, as a user has them."""

from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import Cli


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A pair as the manual says to make it."""
    private, public = tmp_path / "writer.pem", tmp_path / "writer.pub.pem"
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    private.chmod(0o600)
    (tmp_path / "farm").mkdir()
    return private, public


def test_one_builds_and_all_have_it(
    cli: Cli, keys: tuple[Path, Path], kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    store = f"file://{tmp_path / 'farm'}"
    kernel = kernels / "hello.xen"
    first = cli("build", kernel, "-o", "one.img", "--store", store, "--store-key", private)
    assert first.code == 0, first.err
    assert "made in" in first.err

    monkeypatch.setenv("IMAGEKIT_CACHE_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("IMAGEKIT_STORE", store)
    monkeypatch.setenv("IMAGEKIT_TRUST", str(public))
    planned = cli("plan", kernel, "-o", "two.img")
    assert planned.code == 0, planned.err
    assert "run" not in planned.out.split()
    assert f"in the store {store}" in planned.out
    second = cli("build", kernel, "-o", "two.img")
    assert second.code == 0, second.err
    assert "made in" not in second.err
    assert (tmp_path / "one.img").read_bytes() == (tmp_path / "two.img").read_bytes()

    pruned = cli("cache", "prune", "--all", "--store", store)
    assert (pruned.code, pruned.out) == (0, "0 blobs removed, 0 B freed\n")


def test_who_is_not_trusted_is_told_and_not_believed(
    cli: Cli, keys: tuple[Path, Path], kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = keys
    store = f"file://{tmp_path / 'farm'}"
    assert cli("build", kernels / "hello.xen", "--store", store, "--store-key", private).code == 0
    for name in ("other.pem", "other.pub.pem"):
        (tmp_path / name).unlink(missing_ok=True)
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "other.pem")
    run("openssl", "pkey", "-in", tmp_path / "other.pem", "-pubout", "-out", tmp_path / "other.pub.pem")
    monkeypatch.setenv("IMAGEKIT_CACHE_DIR", str(tmp_path / "another"))
    said = cli("build", kernels / "hello.xen", "--store", store, "--trust", tmp_path / "other.pub.pem")
    assert said.code == 0
    assert "cached" not in said.err.replace("cached    ", "")
    assert said.err.count("nobody who is trusted signed") == 1


def test_the_environment_may_hold_the_key(
    cli: Cli, keys: tuple[Path, Path], kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEKIT_STORE_KEY_PEM", keys[0].read_text())
    store = f"file://{tmp_path / 'farm'}"
    assert cli("build", kernels / "hello.xen", "--store", store).code == 0
    assert list((tmp_path / "farm" / "results").iterdir())


@pytest.mark.parametrize(
    "options, words",
    [
        (["--store", "ftp://x"], "no store"),
        (["--store", "s3://bucket/x", "--trust-unsigned"], "signed only"),
        (["--store", "{farm}"], "could be believed"),
        (["--store", "{farm}", "--trust", "missing"], "cannot be read"),
        (["--store", "{farm}", "--trust", "writer.pem"], "no Ed25519 public key"),
        (["--store", "{farm}", "--store-key", "writer.pub.pem"], "that others may use"),
        (["--store", "{farm}", "--store-key", "garbage"], "no Ed25519 private key"),
        (["--store", "{farm}", "--store-key", "rsa.pem"], "no Ed25519 private key"),
    ],
)
def test_what_cannot_be_meant(
    cli: Cli, keys: tuple[Path, Path], kernels: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    assert all(path.exists() for path in keys)
    (tmp_path / "garbage").touch(0o600)
    if "rsa.pem" in options:
        run("openssl", "genpkey", "-algorithm", "rsa", "-out", tmp_path / "rsa.pem")
        (tmp_path / "rsa.pem").chmod(0o600)
    given = [one.replace("{farm}", f"file://{tmp_path / 'farm'}") for one in options]
    said = cli("build", kernels / "hello.xen", *given)
    assert said.code == 2, said.err
    assert words in said.err


def test_a_store_that_must_work(
    cli: Cli, keys: tuple[Path, Path], kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = f"file://{tmp_path / 'gone'}"
    given = ["build", kernels / "hello.xen", "--store", gone, "--store-key", keys[0]]
    assert cli(*given).code == 0
    monkeypatch.setenv("IMAGEKIT_CACHE_DIR", str(tmp_path / "another"))
    said = cli(*given, "--store-required")
    assert (said.code, "is it mounted?" in said.err) == (75, True)
