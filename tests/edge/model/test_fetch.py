"""A model file from a network address: taken where it is the one that was asked for, else refused and nothing left."""

import hashlib
import http.server
import socket
import threading
import time
from pathlib import Path

import pytest
from command import clean, leukoscope
from model_server import HEAD, Behaviour, gives, server

from edge.errors import LeukoscopeError
from edge.model.installation import fetch
from edge.model.installation.fetch import fetched
from edge.model.installed import default_model
from edge.model.settings import ModelSettings

DATA = default_model().read_bytes()
SHA256 = hashlib.sha256(DATA).hexdigest()


def settings_of(folder: Path, **changes: object) -> ModelSettings:
    values = {"directory": str(folder / "models"), "trusted_keys": "keys", "fetch": True}
    return ModelSettings(**(values | changes))  # type: ignore[arg-type]


def refusal(address: str, folder: Path, sha256: str = SHA256, **limits: float) -> str:
    """The reason why it is refused; nothing is left on the disk."""
    with pytest.raises(LeukoscopeError) as caught, fetched(address, sha256, settings_of(folder), **limits):
        pytest.fail("it was given")
    assert not list((folder / "models").glob(".*")) and not list((folder / "models").glob("*"))
    return str(caught.value)


whole = gives(DATA)


def drip(first: bytes) -> Behaviour:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(b"1")
            time.sleep(0.02)

    return behaviour


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(2**20))


def chunked_but_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc")


def test_what_was_asked_for_is_given_and_removed_after(tmp_path: Path) -> None:
    with server(whole) as address, fetched(address, SHA256, settings_of(tmp_path)) as file:
        assert file.read_bytes() == DATA
        assert file.parent == tmp_path / "models" and file.name.startswith(".")
        assert file.stat().st_mode & 0o777 == 0o600
    assert not file.exists()


def test_another_hash_is_refused_before_anything_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    monkeypatch.setattr("edge.model.file.read_model", reads.append)
    with server(lambda connection: connection.sendall(HEAD % 3 + b"abc")) as address:
        assert "its sha256 is ba7816bf" in refusal(address, tmp_path)
    assert not reads


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (drip(b"HTTP/1.1 200 OK\r\nX: "), "not whole after 1 s"),
        (drip(HEAD % len(DATA)), "not whole after 1 s"),
        (drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "not whole after 1 s"),
        (lambda connection: time.sleep(3), "not whole after 1 s|stopped sending"),
        (lambda connection: connection.sendall(HEAD % len(DATA) + DATA[:-1]), "cut off after"),
        (chunked_but_cut_off, "cut off"),
        (lambda connection: connection.sendall(HEAD % 10**9), "larger than 64 MiB"),
        (
            lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"),
            "cannot be fetched: BadStatusLine",
        ),
        (lambda connection: None, "cannot be fetched"),
        (
            lambda connection: connection.sendall(
                b"HTTP/1.1 404 \x1b[2J Not here\r\nContent-Length: 0\r\n\r\n"
            ),
            "answers 404",
        ),
    ],
)
def test_a_server_that_does_not_give_it_ends_in_words_and_in_time(
    tmp_path: Path, behaviour: Behaviour, words: str
) -> None:
    import re

    with server(behaviour) as address:
        said = refusal(address, tmp_path, whole_s=1.0, silence_s=1.0)
    assert re.search(words, said) and "\x1b" not in said


def test_an_endless_answer_is_cut_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 3 * 2**20)
    with server(endless) as address:
        assert "larger than 3 MiB" in refusal(address, tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://127.0.0.1:1/secret?token=abcdef"])
def test_no_redirect_is_followed_nor_shown(tmp_path: Path, target: str) -> None:
    def redirect(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    with server(redirect) as address:
        said = refusal(address, tmp_path)
    assert "sends to another address (302)" in said and "passwd" not in said and "abcdef" not in said


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://host/m.tflite",
        "http:///m.tflite",
        "http://host:port/m.tflite",
        "http://host/m\r\nX-Evil: 1",
        "http://eva:geheim12@127.0.0.1/m.tflite",
        "m.tflite",
    ],
)
def test_an_address_of_another_kind_is_refused_without_its_secrets(tmp_path: Path, address: str) -> None:
    said = refusal(address, tmp_path)
    assert "give" in said and "geheim12" not in said and "\n" not in said


def test_a_query_is_sent_and_never_shown(tmp_path: Path) -> None:
    with server(lambda connection: connection.sendall(HEAD % 3 + b"abc"), "/m?token=geheim12") as address:
        assert "geheim12" not in refusal(address, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = f"http://127.0.0.1:{listening.getsockname()[1]}/m?token=geheim12"
    said = refusal(closed, tmp_path)
    assert "Connection refused" in said and "geheim12" not in said


def test_only_where_the_settings_allow_it_and_only_signed_ones(tmp_path: Path) -> None:
    with server(whole) as address:
        for changes, words in (
            ({"fetch": False}, "fetches no models"),
            ({"trusted_keys": ""}, "needs .* trusted_keys"),
        ):
            with (
                pytest.raises(LeukoscopeError, match=words),
                fetched(address, SHA256, settings_of(tmp_path, **changes)),
            ):
                pytest.fail("it was given")
    assert not (tmp_path / "models").exists()


def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    import ssl

    from certificates import Authority

    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as serving:
        serving.socket = context.wrap_socket(serving.socket, server_side=True)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        said = refusal(f"https://127.0.0.1:{serving.server_port}/m.tflite", tmp_path)
        serving.shutdown()
    assert "certificate refused" in said


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_given: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_download", full)
    assert "No space left on device" in refusal("http://host/m.tflite", tmp_path)


def test_installed_from_an_address_by_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from edge.model.file import read_model
    from edge.model.installation import install as installation
    from edge.model.installation.signature import make_key, sign

    make_key(tmp_path / "key", "Lab")
    for name in ("base", "new"):
        (tmp_path / f"{name}.tflite").write_bytes(DATA)
        sign(tmp_path / f"{name}.tflite", tmp_path / "key", {"base": 5, "new": 6}[name])
    new = read_model(tmp_path / "new.tflite")
    data = new.path.read_bytes()
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f"[model]\nfile = '{tmp_path}/base.tflite'\ndirectory = '{tmp_path}/models'\ntrusted_keys = '{tmp_path}/key.pub'\n"
        f"fetch = true\n[archive]\ndirectory = '{tmp_path}/archive'\n[outbox]\nfile = '{tmp_path}/outbox.db'\n"
    )
    command = ("model", "install", "--config", config)
    with server(gives(data)) as address:
        assert "needs --sha256" in clean(leukoscope(*command, address, cwd=tmp_path), 2)
        assert "not 64 hexadecimal digits" in clean(
            leukoscope(*command, address, "--sha256", "abc", cwd=tmp_path), 2
        )
        wrong = leukoscope(*command, address, "--sha256", SHA256, cwd=tmp_path)
        assert "removed without being read" in clean(wrong, 2)
        clean(leukoscope(*command, address, "--sha256", new.sha256, cwd=tmp_path), 0)
    from edge.settings import load

    assert installation.of_settings(load(config).model).sha256 == new.sha256
    assert [file.name for file in (tmp_path / "models").glob("*.partial")] == []
    unsigned = tmp_path / "unsigned.tflite"
    unsigned.write_bytes(DATA)
    with server(whole) as address:
        assert "is not signed" in clean(leukoscope(*command, address, "--sha256", SHA256, cwd=tmp_path), 1)
