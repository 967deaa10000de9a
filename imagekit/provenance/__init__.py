"""The paper trail of an artifact: sums, statements, an SBOM, signatures; and what they are worth.

Build(prepared, runner, epoch).write(artifact)     after a build
sign(main, key), check(main, public), rebuild(main, folders, environment)
"""

from imagekit.provenance.events import write_proof, write_publication
from imagekit.provenance.files import BUNDLE, STATEMENT, beside
from imagekit.provenance.keys import PRIVATE, PUBLIC, new_pair
from imagekit.provenance.rebuild import rebuild
from imagekit.provenance.record import Build
from imagekit.provenance.signing import check, check_sums, sign

__all__ = [
    "BUNDLE",
    "PRIVATE",
    "PUBLIC",
    "STATEMENT",
    "Build",
    "beside",
    "check",
    "check_sums",
    "new_pair",
    "rebuild",
    "sign",
    "write_proof",
    "write_publication",
]
