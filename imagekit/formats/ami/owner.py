"""Who makes a bundle: keys and certificates read from files, and held against each other."""

import re
from pathlib import Path

from imagekit.errors import UsageError
from imagekit.formats.ami import keys
from imagekit.formats.ami.bundle import Owner

_ACCOUNT = re.compile(r"[0-9]{12}")
_LARGEST = 1 << 20


def read_owner(*, private_key: Path, ec2_cert: Path, user: str, cert: Path | None = None) -> Owner:
    """Read an owner's keys; UsageError for those that cannot be meant. `user` may have hyphens between its digits.

    `cert` is the user's own certificate, only held against the private key.
    """
    account = user.replace("-", "")
    if not _ACCOUNT.fullmatch(account):
        raise UsageError(f"{user!r} is no AWS account: those are 12 digits", hint="--user, EC2_USER or ami.user")
    own = keys.private_key(read_file(private_key))
    theirs = keys.public_key(read_file(ec2_cert), str(ec2_cert))
    if keys.same(own.public_key(), theirs):
        raise UsageError(
            f"{ec2_cert} is the user's own certificate: EC2 could not open the bundle",
            hint="EC2's comes with ec2-ami-tools and euca2ools (cert-ec2.pem), one a partition",
        )
    if cert is not None and not keys.same(own.public_key(), keys.public_key(read_file(cert), str(cert))):
        raise UsageError(f"{cert} and {private_key} are no pair", hint="--cert is the user's, not EC2's")
    return Owner(user=account, private=own, ec2=theirs)


def read_file(path: Path) -> bytes:
    """Read a key or a certificate; UsageError, which never quotes it."""
    try:
        if not path.is_file():
            raise UsageError(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from error
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is too large for a key or a certificate")
    return data
