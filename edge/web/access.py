"""Who may use the page: password, sessions, and the checks that every request passes.

What is checked, in this order: the Host header (against DNS rebinding), the size of the body, the session, and for
whatever changes something the session's own token (against forged requests). Every answer carries headers that let
nothing run but the page's own files and let no other page frame it.
"""

import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.errors import InputError

COOKIE = "leukoscope_session"
TOKEN_HEADER = "x-leukoscope-token"
SESSION_S = 12 * 3600.0
SESSIONS_LIMIT = 1000
BODY_LIMIT_BYTES = 64 * 1024
NAME_LIMIT = 200
"""So many characters of a name in a request are looked at."""
# Wrong passwords of one address before it has to wait, and the longest wait.
FREE_TRIES, LONGEST_WAIT_S = 5, 60.0
ADDRESSES_LIMIT = 1000
OPEN_PATHS = ("/login", "/language", "/static/")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Password:
    """The one password of the page; none if the file is "".

    Args:
        file: holds it and nothing else.

    Raises:
        InputError: the file cannot be read or is empty.
    """

    def __init__(self, file: str):
        self._digest = b""
        if not file:
            return
        try:
            text = Path(file).read_text(encoding="utf-8-sig").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"[web] password_file {file}: {error}") from error
        if not text:
            raise InputError(f"[web] password_file {file} is empty; write the password into it")
        self._digest = _digest(text)

    @property
    def needed(self) -> bool:
        """Whether there is one."""
        return bool(self._digest)

    def fits(self, text: str) -> bool:
        """Whether this is it; compared in constant time."""
        return hmac.compare_digest(_digest(text), self._digest)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Sessions:
    """Browsers that have logged in: a random key each, with the token that their requests must carry."""

    def __init__(self, limit: int = SESSIONS_LIMIT):
        self._limit = limit
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self) -> tuple[str, str]:
        """A new session: its key (for the cookie) and its token (for the page)."""
        key, token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._lock:
            self._known[key] = time.monotonic() + SESSION_S, token
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return key, token

    def token(self, key: str) -> str:
        """The token of a session, or "" if there is no such session (any more)."""
        with self._lock:
            ends_at, token = self._known.get(key, (0.0, ""))
            if ends_at < time.monotonic():
                self._known.pop(key, None)
                return ""
            return token

    def end(self, key: str) -> None:
        """Forget a session."""
        with self._lock:
            self._known.pop(key, None)


class Attempts:
    """Wrong passwords by address: after some of them each one costs a wait that doubles."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """How long this address has to wait before it may try again."""
        with self._lock:
            return max(0.0, self._wrong.get(address, (0, 0.0))[1] - time.monotonic())

    def note(self, address: str, right: bool) -> None:
        """A try of this address has ended."""
        with self._lock:
            count, _ = self._wrong.pop(address, (0, 0.0))
            if right:
                return
            over = count + 1 - FREE_TRIES
            wait_s = min(LONGEST_WAIT_S, 2.0**over) if over >= 0 else 0.0
            self._wrong[address] = count + 1, time.monotonic() + wait_s
            while len(self._wrong) > ADDRESSES_LIMIT:
                self._wrong.popitem(last=False)


def host_names(listen_host: str, named: Iterable[str]) -> set[str]:
    """Names in a Host header that mean this page; addresses are always allowed unless it listens on loopback."""
    names = {"localhost", *(name.lower().rstrip(".") for name in named)}
    if not is_loopback(listen_host):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return names


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_host(header: str) -> str:
    """The host of a Host header, without port and brackets, in lower case."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


class Guard:
    """ASGI middleware: all checks of this module.

    Args:
        app: the page.
        password, sessions: as above.
        names: allowed names of the Host header, see `host_names`.
        loopback: whether the page listens on a loopback address.
    """

    def __init__(self, app: ASGIApp, password: Password, sessions: Sessions, names: set[str], loopback: bool):
        self._app, self._password, self._sessions = app, password, sessions
        self._names, self._loopback = names, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in known  # a report has a policy of its own
                    ),
                    *([] if b"cache-control" in known else [(b"cache-control", b"no-store")]),
                ]
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, with_headers)
        else:
            await self._app(scope, _bounded(receive), with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if not self._knows_host(request.headers.get("host", "")):
            return refused("this name is not known here; add it to [web] hosts", 421, "host")
        if int_or(request.headers.get("content-length"), 0) > BODY_LIMIT_BYTES:
            return refused("the request is too large", 413, "too_large")
        return self._refusal_of_stranger(request)

    def _refusal_of_stranger(self, request: Request) -> Response | None:
        token = self._sessions.token(request.cookies.get(COOKIE, ""))
        request.scope["leukoscope_token"] = token
        reads, path = request.method in ("GET", "HEAD"), request.url.path
        if reads and path.startswith(OPEN_PATHS):
            return None
        if self._password.needed and not token and path != "/login":
            if reads and "text/html" in request.headers.get("accept", ""):
                return RedirectResponse("/login", 303)
            return refused("log in first", 401, "login")
        if not reads and not self._is_own(request, token):
            return refused("the request does not come from this page; load it again", 403, "foreign")
        return None

    def _knows_host(self, header: str) -> bool:
        host = split_host(header)
        if host in self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or not self._loopback

    def _is_own(self, request: Request, token: str) -> bool:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        if request.url.path == "/login":  # there is no session yet; the password is the proof
            return True
        given = request.headers.get(TOKEN_HEADER, "")
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def refused(why: str, status: int, code: str) -> Response:
    """A refusal, as JSON: its words in English, and the code of its text in every language."""
    return JSONResponse({"error": why, "code": code}, status)


def int_or(text: str | None, otherwise: int) -> int:
    """The number, or `otherwise` if it is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else otherwise


def _bounded(receive: Receive) -> Receive:
    """A body that is longer than it said is cut off: the client is treated as gone."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > BODY_LIMIT_BYTES else message

    return bounded


async def body_of(request: Request) -> dict[str, object]:
    """The JSON object of a request; {} if it is none."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
