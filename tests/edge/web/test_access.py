"""Who may use the page, and what strangers may try."""

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge.errors import InputError
from edge.settings import Settings
from edge.web.access import FREE_TRIES, Attempts, Sessions, split_host
from edge.web.command import make_parts, shown_settings
from edge.web.settings import WebSettings
from tests.edge.web.conftest import address_in, leukoscope, stop

PASSWORD = "correct horse 'battery' ñ"
TIMEOUT_S = 10


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with a password, without a box or results."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    archive = folder / "archive"
    archive.mkdir()
    (folder / "secret.png").write_bytes(b"secret")
    config = folder / "leukoscope.toml"
    config.write_text(
        f'[mqtt]\nport = 1\n[web]\npassword_file = "{folder}/password"\ndatabase = "sqlite:///{folder}/none.db"\n'
        f'[archive]\ndirectory = "{archive}"\n'
    )
    process = leukoscope("web", "--config", config, "--listen", "127.0.0.1:0", cwd=folder)
    try:
        yield address_in(process)
    finally:
        stop(process)


@pytest.fixture
def stranger(guarded: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded, timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def technician(guarded: str) -> Iterator[httpx.Client]:
    """Logged in, with the session's token."""
    with httpx.Client(base_url=guarded, timeout=TIMEOUT_S, trust_env=False) as client:
        assert client.post("/login", json={"password": PASSWORD}).status_code == 200
        page = client.get("/live", headers={"accept": "text/html"}).text
        client.headers["x-leukoscope-token"] = page.partition('data-token="')[2].partition('"')[0]
        yield client


@pytest.mark.parametrize("path", ["/live", "/cells", "/settings", "/report?specimen=x"])
def test_without_the_password_a_page_leads_to_the_login(stranger: httpx.Client, path: str) -> None:
    found = stranger.get(path, headers={"accept": "text/html"})
    assert (found.status_code, found.headers["location"]) == (303, "/login")


@pytest.mark.parametrize(
    "path", ["/api/cells", "/api/specimens", "/events", "/api/cells/x/picture", "/metrics"]
)
def test_without_the_password_nothing_is_told(stranger: httpx.Client, path: str) -> None:
    found = stranger.get(path)
    assert found.status_code == 401
    assert found.json()["code"] == "login"


def test_a_command_needs_the_password_and_the_sessions_token(
    stranger: httpx.Client, technician: httpx.Client
) -> None:
    assert stranger.post("/api/commands/specimen_stop", json={}).status_code == 401
    forged = technician.post("/api/commands/specimen_stop", json={}, headers={"x-leukoscope-token": "forged"})
    assert (forged.status_code, forged.json()["code"]) == (403, "foreign")
    elsewhere = technician.post(
        "/api/commands/specimen_stop", json={}, headers={"sec-fetch-site": "cross-site"}
    )
    assert elsewhere.status_code == 403
    own = technician.post("/api/commands/specimen_stop", json={})
    assert (own.status_code, own.json()["code"]) == (503, "broker")  # let through; there is no broker


def test_the_cookie_is_kept_from_scripts_and_other_sites(guarded: str) -> None:
    found = httpx.post(f"{guarded}/login", json={"password": PASSWORD}, trust_env=False)
    cookie = found.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_every_answer_forbids_frames_and_foreign_scripts(
    stranger: httpx.Client, technician: httpx.Client
) -> None:
    for found in (stranger.get("/login"), stranger.get("/nowhere"), technician.get("/live")):
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert found.headers["x-frame-options"] == "DENY"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "server" not in found.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "[::2]"])
def test_a_name_that_is_not_ours_is_refused(guarded: str, host: str) -> None:
    found = httpx.get(f"{guarded}/login", headers={"host": host}, trust_env=False)
    assert found.status_code in (400, 421)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../access.py",
        "/static/%2e%2e/access.py",
        "/static/..%2f..%2fsettings.py",
        "/static//etc/passwd",
        "/api/cells/..%2f..%2fsecret.png/picture",
        "/api/cells/%2e%2e/picture",
    ],
)
def test_no_path_leads_out(technician: httpx.Client, path: str) -> None:
    found = technician.get(path)
    assert found.status_code in (404, 405, 503)
    assert b"secret" not in found.content
    assert b"import" not in found.content


def test_a_large_body_is_refused_before_it_is_read(technician: httpx.Client) -> None:
    place = technician.base_url
    with socket.create_connection((place.host, place.port or 80), 5) as client:
        head = f"POST /api/commands/capture HTTP/1.1\r\nHost: {place.host}\r\nContent-Length: 100000\r\n\r\n"
        client.sendall(head.encode())
        answer = client.recv(65536)
        while b"too_large" not in answer and (more := client.recv(65536)):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"too_large" in answer


def test_a_body_without_a_length_that_grows_is_cut_off(technician: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    try:
        found = technician.post("/api/commands/capture", content=endless())
    except httpx.HTTPError:
        return
    assert found.status_code >= 400


def test_slow_clients_keep_nobody_waiting(guarded: str, stranger: httpx.Client) -> None:
    place = httpx.URL(guarded)
    slow = [socket.create_connection((place.host, place.port), 5) for _ in range(60)]
    try:
        for one in slow:
            one.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        began = time.monotonic()
        assert stranger.get("/login").status_code == 200
        assert time.monotonic() - began < 5
    finally:
        for one in slow:
            one.close()


def test_wrong_passwords_cost_ever_more_time(guarded: str) -> None:
    with httpx.Client(base_url=guarded, timeout=TIMEOUT_S, trust_env=False) as client:
        statuses = [
            client.post("/login", json={"password": f"no {n}"}).status_code for n in range(FREE_TRIES + 2)
        ]
        assert statuses[:FREE_TRIES] == [401] * FREE_TRIES
        assert statuses[-1] == 429
        waiting = client.post("/login", json={"password": PASSWORD})
        assert waiting.json()["code"] == "wait"
        assert int(waiting.headers["retry-after"]) >= 1
        time.sleep(int(waiting.headers["retry-after"]))
        assert client.post("/login", json={"password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"password": 7}', b"{" * 5000, b"\xff\xfe"])
def test_nonsense_is_no_password(guarded: str, body: bytes) -> None:
    place = httpx.URL(guarded)
    for _ in range(30):
        connection = http.client.HTTPConnection(place.host, place.port, timeout=TIMEOUT_S)
        connection.request("POST", "/login", body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 429:
            assert answer.status == 401
            return
        time.sleep(1)
    raise AssertionError("it has to wait for ever")


def test_a_network_address_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="password_file"):
        make_parts(Settings(), "0.0.0.0:8080", loopback=False)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        make_parts(Settings(web=WebSettings(password_file=str(empty))), "0.0.0.0:8080", loopback=False)


def test_settings_are_shown_without_secrets() -> None:
    web = WebSettings(database="postgresql://me:hunter2@db/results")
    shown = shown_settings(Settings(web=web))
    assert "hunter2" not in str(shown)
    assert shown["web.database"] == "postgresql://db/results"


def test_attempts_begin_anew_after_the_right_password() -> None:
    attempts = Attempts()
    for _ in range(FREE_TRIES + 3):
        attempts.note("10.0.0.1", right=False)
    assert 0 < attempts.wait_s("10.0.0.1") <= 60
    assert attempts.wait_s("10.0.0.2") == 0
    attempts.note("10.0.0.1", right=True)
    assert attempts.wait_s("10.0.0.1") == 0


def test_of_too_many_sessions_the_oldest_end() -> None:
    sessions = Sessions(limit=2)
    keys = [sessions.begin()[0] for _ in range(3)]
    assert [bool(sessions.token(key)) for key in keys] == [False, True, True]
    sessions.end(keys[2])
    assert sessions.token(keys[2]) == ""


@pytest.mark.parametrize(
    ("header", "host"),
    [("LOCALHOST:80", "localhost"), ("[::1]:80", "::1"), ("::1", "::1"), ("box", "box"), ("box:", "box")],
)
def test_the_host_of_a_header(header: str, host: str) -> None:
    assert split_host(header) == host
