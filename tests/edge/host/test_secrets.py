"""No secret leaves: addresses are shown without theirs, and values of the environment are redacted."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from edge.errors import InputError
from edge.host import secrets


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    secrets.forget_all()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://lab:geheim@10.0.0.7:554/stream", "rtsp://10.0.0.7:554/stream"),
        ("rtsp://lab:ge@he/im#1@camera/stream", "rtsp://camera/stream"),
        ("http://camera/video?user=lab&password=geheim", "http://camera/video"),
        ("mqtt://user:geh#eim@host", "mqtt://host"),
        ("postgresql://lab:p%40ss@db/results", "postgresql://db/results"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_an_address_is_shown_without_user_password_and_query(address: str, shown: str) -> None:
    assert secrets.shown_address(address) == shown
    assert secrets.redact(f"cannot open {address}: refused") == f"cannot open {shown}: refused"


def test_a_password_with_any_sign_reaches_the_host_and_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "ge@he/im#1:x")
    address = secrets.expand_address("rtsp://lab:${CAMERA_PASSWORD}@camera:554/stream", "camera.source")
    parts = urlsplit(address)
    assert (parts.username, parts.password, parts.hostname, parts.port) == (
        "lab",
        "ge%40he%2Fim%231%3Ax",
        "camera",
        554,
    )
    for leak in (f"failed: {address}", "sent ge@he/im#1:x", "sent ge%40he%2Fim%231%3Ax"):
        assert "im#1" not in secrets.redact(leak)
        assert "im%231" not in secrets.redact(leak)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(InputError, match="camera.source: the environment has no NOWHERE"):
        secrets.expand("${NOWHERE}", "camera.source")
