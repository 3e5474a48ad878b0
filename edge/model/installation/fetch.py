"""A model file from a network address: bounded in size and time, and its hash checked before anything reads it."""

import contextlib
import hashlib
import http.client
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import PARTIAL_SUFFIX
from edge.host.secrets import shown_address
from edge.host.text import harmless
from edge.model.bundle import MAX_FILE_BYTES
from edge.model.installed import SUFFIX
from edge.model.settings import ModelSettings

WHOLE_S = 120.0
"""So long may a download take, from the first packet to the last byte: 64 MiB at 0.5 MB a second."""

SILENCE_S = 15.0
"""A server that sends nothing for so long is given up."""

_BLOCK_BYTES = 64 * 1024
_SCHEMES = ("http", "https")
_USER_AGENT = "leukoscope"


class _Address(NamedTuple):
    secure: bool
    host: str
    port: int
    target: str
    shown: str


@contextlib.contextmanager
def fetched(
    address: str, sha256: str, settings: ModelSettings, whole_s: float = WHOLE_S, silence_s: float = SILENCE_S
) -> Iterator[Path]:
    """Download a model file; it lies in [model] directory while this holds, and is removed at the end.

    No redirect is followed, no proxy used and no password sent, and the file is opened by nothing unless its hash is
    the one that was asked for.

    Args:
        address: http:// or https://, without user and password.
        sha256: of the whole file, 64 hexadecimal digits.
        settings: of the box.
        whole_s: for all of it, seconds.
        silence_s: between two packets, seconds.

    Raises:
        InputError: the address is of another kind, or what came has another hash or is too large.
        LeukoscopeError: the settings do not allow it, the server does not give it, or the disk is full.
    """
    _check_allowed(settings)
    wanted = _parts(address)
    folder = Path(settings.directory)
    file = folder / f".fetched-{sha256[:12]}.{secrets.token_hex(4)}{SUFFIX}{PARTIAL_SUFFIX}"
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                found = _download(wanted, out, whole_s, silence_s)
        except OSError as error:
            raise LeukoscopeError(f"{folder}: {error.strerror}; no model was fetched") from error
        if found != sha256:
            raise InputError(
                f"{wanted.shown}: its sha256 is {found}, not {sha256}; it was removed without being read"
            )
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _check_allowed(settings: ModelSettings) -> None:
    if not settings.fetch:
        raise LeukoscopeError(
            "this box fetches no models from the network: set [model] fetch = true to allow it, or give a file"
        )
    if not settings.trusted_keys:
        raise LeukoscopeError(
            "[model] fetch needs [model] trusted_keys: only signed models are fetched; leukoscope model keygen"
        )


def _parts(address: str) -> _Address:
    """Raises InputError for what is no plain address of a file."""
    try:
        split = urlsplit(address)
        port = split.port
    except ValueError:
        raise InputError("address: it cannot be read; give http:// or https:// and a host") from None
    shown = harmless(shown_address(address), 200)
    if split.username is not None or split.password is not None:
        raise InputError(
            f"{shown}: give the address without user and password; the hash and the signature decide"
        )
    if (
        split.scheme not in _SCHEMES
        or not split.hostname
        or not address.isascii()
        or not address.isprintable()
    ):
        raise InputError(f"{shown}: give http:// or https:// and a host, without spaces")
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    secure = split.scheme == "https"
    return _Address(secure, split.hostname, port or (443 if secure else 80), target, shown)


def _download(wanted: _Address, out: IO[bytes], whole_s: float, silence_s: float) -> str:
    """Write what the server gives, its size and time bounded; the sha256.

    Raises:
        LeukoscopeError: see `fetched`.
        OSError: of the disk.
    """
    overtime = threading.Event()
    digest, size = hashlib.sha256(), 0
    with _network_faults(wanted.shown, overtime, whole_s):
        raw = socket.create_connection((wanted.host, wanted.port), min(silence_s, whole_s))
    with raw, _clock(raw, whole_s, overtime), contextlib.closing(_connection(wanted)) as connection:
        with _network_faults(wanted.shown, overtime, whole_s):
            connection.sock = _secured(raw, wanted.host) if wanted.secure else raw
            connection.request(
                "GET", wanted.target, headers={"User-Agent": _USER_AGENT, "Connection": "close"}
            )
            response = connection.getresponse()
        _check_answer(wanted.shown, response)
        while True:
            with _network_faults(wanted.shown, overtime, whole_s):
                block = response.read1(_BLOCK_BYTES)
            if overtime.is_set():
                raise LeukoscopeError(_too_slow(wanted.shown, whole_s))
            if not block:
                break
            size += len(block)
            if size > MAX_FILE_BYTES:
                raise InputError(_too_large(wanted.shown))
            digest.update(block)
            out.write(block)
        if response.length:  # what was announced and did not come
            raise LeukoscopeError(f"{wanted.shown}: cut off after {size} bytes; try again")
    return digest.hexdigest()


@contextlib.contextmanager
def _clock(raw: socket.socket, whole_s: float, overtime: threading.Event) -> Iterator[None]:
    """End the connection when the time is over: a server that drips its bytes passes every limit on one packet."""
    guard = raw.dup()  # that of the connection may be wrapped, or closed, meanwhile

    def end() -> None:
        overtime.set()
        with contextlib.suppress(OSError):
            guard.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(whole_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        guard.close()


def _connection(wanted: _Address) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if wanted.secure else http.client.HTTPConnection
    return kind(wanted.host, wanted.port)


def _secured(raw: socket.socket, host: str) -> socket.socket:
    return ssl.create_default_context().wrap_socket(raw, server_hostname=host)


def _check_answer(shown: str, response: http.client.HTTPResponse) -> None:
    if 300 <= response.status < 400:
        raise LeukoscopeError(
            f"{shown}: the server sends to another address ({response.status}), which is not followed; give that address"
        )
    if response.status != http.client.OK:
        raise LeukoscopeError(
            f"{shown}: the server answers {response.status} {harmless(response.reason, 80)}"
        )
    if response.length is not None and response.length > MAX_FILE_BYTES:
        raise InputError(_too_large(shown))


@contextlib.contextmanager
def _network_faults(shown: str, overtime: threading.Event, whole_s: float) -> Iterator[None]:
    """What a network does, in words; nothing of the address but what may be shown."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise LeukoscopeError(
            f"{shown}: certificate refused: {harmless(error.verify_message, 200)}"
        ) from None
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: of a chunk's or a length's number
        if overtime.is_set():
            raise LeukoscopeError(_too_slow(shown, whole_s)) from None
        if isinstance(error, TimeoutError):
            raise LeukoscopeError(f"{shown}: the server has stopped sending; try again") from None
        if isinstance(error, http.client.IncompleteRead):
            raise LeukoscopeError(f"{shown}: cut off; try again") from None
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        raise LeukoscopeError(f"{shown}: cannot be fetched: {harmless(reason, 200)}") from None


def _too_large(shown: str) -> str:
    return f"{shown}: larger than {MAX_FILE_BYTES // 2**20} MiB; not one of our model files"


def _too_slow(shown: str, whole_s: float) -> str:
    return f"{shown}: not whole after {whole_s:.0f} s; try again, or bring it as a file"
