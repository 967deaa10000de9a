"""Boots an image on a real Xen: a hypervisor, a small dom0 and xl, inside QEMU's emulation.

    with Laboratory(cache, state) as laboratory:
        proof = laboratory.prove(subject(Path("app.ebs"), ...), Expected(text="hello"))
        print(proof.booted, proof.console)

Root is not needed, KVM neither. One proof runs at a time.
"""

from imagekit.prove.boot import Expected, Verdict
from imagekit.prove.job import Network
from imagekit.prove.laboratory import Laboratory
from imagekit.prove.subject import Subject, subject

__all__ = ["Expected", "Laboratory", "Network", "Subject", "Verdict", "subject"]
