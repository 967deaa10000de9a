"""The AMI bundle for EC2's instance store: parts of an encrypted image, and the manifest that names them.

`tar`, `gzip`, `keys`, `xml` and `manifest` know one format each, `bundle` the way through them,
`folder` the files.
"""

from imagekit.errors import ToolError

try:
    from imagekit.formats.ami.bundle import Owner
    from imagekit.formats.ami.folder import bundle, bundling, unbundle
    from imagekit.formats.ami.keys import (
        Secrets,
        commitment,
        derived_secrets,
        fingerprint,
        new_pair,
        private_key,
        public_key,
        random_secrets,
        same,
        secrets_from,
    )
    from imagekit.formats.ami.manifest import ARCHITECTURES, SUFFIX, Machine
    from imagekit.formats.ami.owner import read_file, read_owner
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in {"cryptography", "isal"}:
        raise
    raise ToolError(
        "AMI bundles need cryptography and isal", details=str(error), hint="pip install 'imagekit[aws]'"
    ) from error

__all__ = [
    "ARCHITECTURES",
    "SUFFIX",
    "Machine",
    "Owner",
    "Secrets",
    "bundle",
    "bundling",
    "commitment",
    "derived_secrets",
    "fingerprint",
    "new_pair",
    "private_key",
    "public_key",
    "random_secrets",
    "read_file",
    "read_owner",
    "same",
    "secrets_from",
    "unbundle",
]
