import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Theirs
from securesystemslib.exceptions import VerificationError as TheirError
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from imagekit import ed25519 as keys
from imagekit.errors import UsageError, VerificationError
from imagekit.provenance import dsse

# RFC 8032, section 7.1, tests 1 and 2.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
OTHER = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
KEY = Ed25519PrivateKey.from_private_bytes(SEED)


def test_pae_as_the_specification_has_it() -> None:
    # secure-systems-lab/dsse, protocol.md, "Test Vectors".
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected
    assert dsse.pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "  # bytes are counted, not characters


def test_a_signature_that_others_made() -> None:
    # secure-systems-lab/dsse, testvectors/vectors.json: "single-signature" and "payload-type-swapped".
    signature = "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
    payload = "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
    content = {"payload": payload, "payloadType": dsse.IN_TOTO, "signatures": [{"sig": signature, "keyid": "A"}]}
    envelope = dsse.parse(json.dumps(content).encode(), "it")
    assert dsse.is_by(envelope, KEY.public_key())
    assert dsse.signed(envelope.payload, KEY, "A") == envelope
    swapped = dsse.parse(json.dumps({**content, "payloadType": "application/x"}).encode(), "it")
    assert not dsse.is_by(swapped, KEY.public_key())


@given(st.binary(max_size=200), st.text(max_size=20).filter(lambda text: text.isprintable()))
def test_others_read_what_we_sign_and_we_read_theirs(payload: bytes, kind: str) -> None:
    their_key = SSlibKey.from_crypto(KEY.public_key(), "k")
    ours = dsse.signed(payload, KEY, "k", kind)
    theirs = Theirs.from_dict(json.loads(ours.to_line()))
    assert set(theirs.verify([their_key], 1)) == {"k"}
    theirs = Theirs(payload, kind, {})
    theirs.sign(CryptoSigner(KEY, their_key))
    back = dsse.parse(json.dumps(theirs.to_dict()).encode(), "theirs")
    assert back.payload == payload
    assert dsse.is_by(back, KEY.public_key())


@given(st.data())
def test_a_changed_byte_is_seen_as_others_see_it(data: st.DataObject) -> None:
    envelope = dsse.signed(b'{"a": 1}', KEY, "k")
    payload = bytearray(envelope.payload)
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    changed = dsse.Envelope(bytes(payload), envelope.payload_type, envelope.signatures)
    assert not dsse.is_by(changed, KEY.public_key())
    with pytest.raises(TheirError):
        Theirs.from_dict(json.loads(changed.to_line())).verify([SSlibKey.from_crypto(KEY.public_key(), "k")], 1)


@pytest.mark.parametrize("signature", [b"", b"x", bytes(64), bytes(65), b"\xff" * 64])
def test_no_signature_at_all(signature: bytes) -> None:
    assert not dsse.is_by(dsse.Envelope(b"{}", dsse.IN_TOTO, (("", signature),)), KEY.public_key())
    assert not dsse.is_by(dsse.Envelope(b"{}", dsse.IN_TOTO, ()), KEY.public_key())


@given(st.binary(max_size=300))
def test_both_alphabets_of_base64(payload: bytes) -> None:
    for encode in (b64encode, urlsafe_b64encode):
        content = {"payload": encode(payload).decode(), "payloadType": "x", "signatures": [], "more": 1}
        assert dsse.parse(json.dumps(content).encode(), "it") == dsse.Envelope(payload, "x", ())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_FIELDS = {
    "payload": _JSON | st.sampled_from(["", "e30=", "e30", "é", "e3 0="]),
    "payloadType": _JSON,
    "signatures": _JSON | st.lists(st.fixed_dictionaries({}, optional={"sig": _JSON, "keyid": _JSON}), max_size=2),
}


@given(st.fixed_dictionaries({}, optional=_FIELDS) | _JSON)
def test_any_json_is_an_envelope_or_an_error(content: object) -> None:
    try:
        found = dsse.parse(json.dumps(content).encode(), "it")
    except VerificationError:
        return
    assert dsse.parse(found.to_line(), "it") == found


@given(st.binary(max_size=100))
def test_any_bytes_are_an_envelope_or_an_error(data: bytes) -> None:
    with pytest.raises(VerificationError):
        dsse.parse(data, "it")


@pytest.mark.parametrize(
    "text",
    [
        '{"payload": "", "payload": "", "payloadType": "", "signatures": []}',
        '{"payload": NaN, "payloadType": "", "signatures": []}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        '{"payload": "", "payloadType": "\\ud800", "signatures": []}',
        "\ufeff{}",
    ],
    ids=["twice", "NaN", "deep", "deeper", "a list", "half a character", "byte order mark"],
)
def test_hostile_json(text: str) -> None:
    with pytest.raises(VerificationError):
        dsse.parse(text.encode(), "it")


def test_keys_are_told_apart_and_kept(tmp_path: Path) -> None:
    private, public = keys.new_pair()
    one, two = tmp_path / "key", tmp_path / "key.pub"
    one.write_bytes(private)
    two.write_bytes(public)
    one.chmod(0o600)
    assert keys.private_key(one).public_key() == keys.public_key(two)
    raw = keys.public_key(two).public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert len(keys.key_id(keys.public_key(two))) == 64
    assert raw.hex() not in keys.key_id(keys.public_key(two))
    for mode in (0o640, 0o604, 0o660):
        one.chmod(mode)
        with pytest.raises(UsageError, match="others may use"):
            keys.private_key(one)


@pytest.mark.parametrize(
    "content", [b"", b"secret words", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
)
def test_no_key_and_nothing_of_it_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError) as caught:
        keys.private_key(path)
    assert "secret" not in str(caught.value)
    assert "c2Vj" not in str(caught.value)
    with pytest.raises(UsageError):
        keys.public_key(path)
    with pytest.raises(UsageError, match="cannot be read"):
        keys.private_key(tmp_path / "none")
