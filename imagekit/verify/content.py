"""The artifact's files against the digests in its sidecar."""

from collections.abc import Iterator
from itertools import islice

from imagekit.errors import VerificationError
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks
from imagekit.verify.check import Check, passed, skipped
from imagekit.verify.subject import Subject


def check_content(subject: Subject) -> Iterator[Check]:
    """Check length, digest and block list of the main file, and the digests of its companions."""
    claims = subject.claims
    if claims is None:
        yield skipped("digest", f"no sidecar; taken for {subject.target} because you say so")
        return
    check_length(subject, claims.length)
    blocks = map_blocks(subject.path)
    if claims.blocks is not None and claims.blocks != blocks:
        _blame(subject, claims.blocks, blocks)
    if blocks.digest != claims.digest:
        raise VerificationError(
            f"{subject.path.name} is not the file that its sidecar describes",
            details=f"its digest is {blocks.digest}\nits sidecar says {claims.digest}",
            hint="copy it again, or build it again",
        )
    listed = "" if claims.blocks is None else f", the {len(blocks.blocks)} blocks of the list"
    yield passed("digest", f"{blocks.length} bytes, {blocks.digest}{listed}")
    yield from _check_companions(subject)


def check_length(subject: Subject, made: int) -> None:
    """VerificationError for a file that is not as long as it was made, in bytes."""
    if subject.length != made:
        raise VerificationError(
            f"{subject.path.name} is {_difference(subject.length - made)} than it was made",
            details=f"{subject.length} bytes; its sidecar says {made}",
            hint="copy it again, or build it again",
        )


def _check_companions(subject: Subject) -> Iterator[Check]:
    claimed = {} if subject.claims is None else subject.claims.companions
    for suffix, digest in sorted(claimed.items()):
        path = subject.beside(suffix)
        if not path.is_file():
            raise VerificationError(f"{path.name} is missing", hint="build it again")
        seen = digest_file(path)
        if seen != digest:
            raise VerificationError(
                f"{path.name} is not as it was made",
                details=f"its digest is {seen}\nthe sidecar says {digest}",
                hint="build it again; settings belong in the recipe",
            )
    if claimed:
        yield passed("companions", ", ".join(sorted(claimed)))


def _blame(subject: Subject, claimed: BlockMap, seen: BlockMap) -> None:
    indexes = sorted({index for index, _ in set(claimed.blocks) ^ set(seen.blocks)})
    first = [f"block {index}, from byte {index * BLOCK}" for index in islice(indexes, 5)]
    raise VerificationError(
        f"{subject.path.name} differs from its sidecar's list in {len(indexes)} blocks",
        details="\n".join(first),
        hint="copy it again, or build it again",
    )


def _difference(surplus: int) -> str:
    return f"{abs(surplus)} bytes {'longer' if surplus > 0 else 'shorter'}"
