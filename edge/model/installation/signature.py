"""Signatures of model files: Ed25519 over all that a file holds.

A file is signed as a whole. That of an adaptation holds the signature of its base too, so that both can be checked:
the laboratory's for the adaptation, the maker's for what it was made of.
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host import typedfile
from edge.host.durable import replace_file
from edge.host.text import harmless
from edge.model import bundle
from edge.model.file import ModelFile, read_model
from edge.model.installation.base import SIGNATURE, base_of

KIND = "ed25519"
PUBLIC_SUFFIX = ".pub"
_KEY_BYTES = 32
_PRIVATE_MODE = 0o600
_NAME_LENGTH = 100
_MESSAGE = "leukoscope model 1\n{counter}\n{digest}\n"
_REMEDY = "it holds lines as `leukoscope model keygen` writes them: ed25519 KEY NAME"


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The member `signature` of a model file.

    Attributes:
        algorithm: Ed25519 (RFC 8032).
        key: the public key, base64.
        counter: grows with each signature of a key; a box takes none that is older than the last.
        signature: base64, of counter and content.
    """

    algorithm: Literal["ed25519"] = "ed25519"
    key: Annotated[str, msgspec.Meta(max_length=100)]
    counter: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    signature: Annotated[str, msgspec.Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a file: the key, its name in the file of trusted keys ("" if it is not there), the counter."""

    key: str
    name: str
    counter: int


def make_key(file: Path, name: str) -> str:
    """Write a new private key, for its owner alone, and its public key beside it, FILE.pub.

    Returns:
        The line of the public key.

    Raises:
        InputError: one of the files exists.
        LeukoscopeError: a file cannot be written, or cryptography is missing.
    """
    public = file.with_name(file.name + PUBLIC_SUFFIX)
    for existing in (file, public):
        if existing.exists():
            raise InputError(
                f"{existing} exists; a key is never overwritten: give another name, or remove it"
            )
    keys, serialization = _library()
    private = keys.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    words = " ".join(harmless(name, _NAME_LENGTH).split()) or file.stem
    line = f"{KIND} {_text(private.public_key().public_bytes_raw())} {words}\n"
    replace_file(file, pem, mode=_PRIVATE_MODE)
    replace_file(public, line.encode())
    return line


def sign(file: Path, key_file: Path, counter: int | None = None) -> ModelFile:
    """Sign a model file in its place; an earlier signature is replaced.

    Args:
        file: of the model.
        key_file: of `make_key`.
        counter: None for the seconds since 1970, or one more than the signature before where that is as high.

    Raises:
        LeukoscopeError: the model or the key cannot be read, or the file cannot be written.
    """
    model, private = read_model(file), _private_key(key_file)
    public = _text(private.public_key().public_bytes_raw())
    before = signature_of(model)
    if counter is None:
        last = before.counter if before is not None and before.key == public else 0
        counter = max(int(time.time()), last + 1)
    message = _message(counter, model)
    signature = Signature(key=public, counter=counter, signature=_text(private.sign(message)))
    members = {name: content for name, content in model.members.items() if name != SIGNATURE}
    data = bundle.append(model.flatbuffer, members | {SIGNATURE: msgspec.json.encode(signature) + b"\n"})
    replace_file(file, data)
    return read_model(file)


def signature_of(model: ModelFile) -> Signature | None:
    """The signature in a file, not yet checked; None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    content = model.members.get(SIGNATURE)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Signature)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"{model.path}: its signature cannot be read: {error}") from error


def trusted(file: Path) -> dict[str, str]:
    """The keys of a file, each with its name.

    Raises:
        InputError: it cannot be read, holds no key, or a line is none.
    """
    found = {}
    text = typedfile.read_text(file, name=f"[model] trusted_keys {file}", remedy=_REMEDY)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        kind, key, name = (*line.split(maxsplit=2), "", "")[:3]
        if kind != KIND or len(_bytes(key)) != _KEY_BYTES:
            raise InputError(f"{file}, line {number}: no public key; {_REMEDY}")
        found[key] = harmless(name.strip(), _NAME_LENGTH) or key[:8]
    if not found:
        raise InputError(f"{file}: no key in it; {_REMEDY}")
    return found


def check(model: ModelFile, keys: Mapping[str, str]) -> list[Signed]:
    """Check the signature of a file and, of an adapted one, that of its base, where the base was signed.

    Args:
        model: as it was read.
        keys: whose signatures count, with their names; of `trusted`.

    Returns:
        Who signed the file, and who its base if that has a signature of its own.

    Raises:
        LeukoscopeError: a signature is missing, wrong, or by a key that is not trusted.
    """
    signed = [_checked(model, keys, "it")]
    base = base_of(model)
    if base is not model and signature_of(base) is not None:  # else whoever signed the whole answers for it
        signed.append(_checked(base, keys, "the model that it was adapted from"))
    return signed


def _checked(model: ModelFile, keys: Mapping[str, str], what: str) -> Signed:
    signature = signature_of(model)
    if signature is None:
        raise LeukoscopeError(
            f"{model.path}: {what} is not signed, and [model] trusted_keys asks for it: leukoscope model sign"
        )
    if signature.key not in keys:
        raise LeukoscopeError(
            f"{model.path}: {what} is signed by the key {harmless(signature.key, 50)}, which is not in [model] "
            "trusted_keys"
        )
    if not is_right(model, signature):
        raise LeukoscopeError(
            f"{model.path}: the signature of {what} is wrong: the file was altered; copy it again"
        )
    return Signed(signature.key, keys[signature.key], signature.counter)


def is_right(model: ModelFile, signature: Signature) -> bool:
    """Whether a signature is that of its key over this model."""
    keys, _ = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        public = keys.Ed25519PublicKey.from_public_bytes(_bytes(signature.key))
        public.verify(_bytes(signature.signature), _message(signature.counter, model))
    except (InvalidSignature, ValueError):
        return False
    return True


def content_sha256(model: ModelFile) -> str:
    """Of all that a file holds but its signature: each part with its name and length, so that none runs into another."""
    digest = hashlib.sha256()
    parts = {name: content for name, content in model.members.items() if name != SIGNATURE}
    for name, content in [("flatbuffer", model.flatbuffer), *sorted(parts.items())]:
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _message(counter: int, model: ModelFile) -> bytes:
    return _MESSAGE.format(counter=counter, digest=content_sha256(model)).encode()


def _private_key(file: Path) -> Any:
    keys, serialization = _library()
    text = typedfile.read_text(file, name=f"key {file}", remedy="leukoscope model keygen makes one")
    if file.stat().st_mode & 0o077:
        raise InputError(f"key {file}: other users may read it; sudo chmod 600 {file}")
    try:
        private = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        raise InputError(f"key {file}: no private key; leukoscope model keygen makes one") from None
    if not isinstance(private, keys.Ed25519PrivateKey):
        raise InputError(f"key {file}: no Ed25519 key; leukoscope model keygen makes one")
    return private


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise LeukoscopeError("signatures need cryptography: pip install 'leukoscope[sign]'") from error
    return ed25519, serialization


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """b"" for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
