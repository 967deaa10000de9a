"""Rows of AMI bundles: 1 GiB that is 90 % random, bundled and opened again; and the same steps as a pipeline."""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, once

IMAGEKIT = str(Path(sys.executable).with_name("imagekit"))
MIB = 1 << 20
SIZE = 1024  # MiB
MEMORY = 150 * MIB
Row = tuple[str, str, Figures, str]
# What euca-bundle-image does, by the same programs: tar, pigz (or gzip), openssl, split, and a sum of each part.
PIPELINE = (
    "tar -cS -C {0} bundled.raw | tee >(sha1sum >{0}/sum) | {1} | openssl enc -aes-128-cbc "
    "-K $(printf 0%.0s {{1..32}}) -iv $(printf 1%.0s {{1..32}}) | "
    "split -b 10485760 - {0}/part. && sha1sum {0}/part.* >{0}/sums; rm {0}/part.*"
)


def rows(work: Path, runs: int, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of bundling and of opening."""
    image = work / "bundled.raw"
    with image.open("wb") as file:
        for number in range(SIZE):
            if number % 10:
                file.seek(number * MIB)
                file.write(os.urandom(MIB))
        file.truncate(SIZE * MIB)
    _run(environment, IMAGEKIT, "keys", "new", "-o", str(work / "keys"))
    names = ("-keyout", str(work / "no.pem"), "-out", str(work / "ec2.pem"), "-subj", "/")
    _run(environment, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names)
    key = ("--private-key", str(work / "keys" / "pk.pem"))
    who = ("--ec2-cert", str(work / "ec2.pem"), "--user", "123456789012", "-o", str(work / "bundle"))
    packer = "pigz" if shutil.which("pigz") else "gzip"
    commands = {
        "imagekit": [IMAGEKIT, "bundle", str(image), *key, *who],
        f"tar, {packer}, openssl, split": ["bash", "-c", PIPELINE.format(work, packer)],
    }
    yield from _compared("1 GiB, 90 % random, bundled", commands, runs, environment, at_least=120)
    manifest = str(work / "bundle" / "bundled.manifest.xml")
    opened = {"imagekit": [IMAGEKIT, "unbundle", manifest, *key, "-o", str(work / "back.raw")]}
    yield from _compared("and opened again", opened, runs, environment, at_least=150)


def _compared(
    name: str, commands: Mapping[str, list[str]], runs: int, environment: Mapping[str, str], *, at_least: float
) -> Iterator[Row]:
    samples = {by: [once(argv, environment) for _ in range(runs)] for by, argv in commands.items()}
    ours = statistics.median(sample.seconds for sample in samples["imagekit"])
    for by, taken in samples.items():
        figures = Figures.of(taken)
        speed = SIZE * MIB / 1e6 / figures.seconds
        told = f"{speed:.0f} MB/s"
        if by == "imagekit":
            told += f" (at least {at_least}: {'yes' if speed >= at_least else 'NO'}), at most 150 MiB: "
            told += "yes" if figures.memory <= MEMORY else "NO"
        else:
            told += f"; imagekit is {figures.seconds / ours:.2f} times as fast"
        yield name, by, figures, told


def _run(environment: Mapping[str, str], *argv: str) -> None:
    subprocess.run(argv, env=dict(environment), check=True, capture_output=True)
