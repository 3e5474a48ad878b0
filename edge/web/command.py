"""`leukoscope web`: serves the technician's page until it is stopped."""

import argparse
import logging
import signal
import socket
from pathlib import Path

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host import secrets
from edge.host.address import host_and_port
from edge.host.terminal import console
from edge.model.installed import find_model
from edge.model.labels import read_classes
from edge.notice import NOTICE
from edge.settings import Settings, find, load
from edge.specimen.counting import Classes
from edge.specimen.page import render
from edge.web.access import Password, Sessions, host_names, is_loopback
from edge.web.app import make_app
from edge.web.box import Box
from edge.web.events import Events
from edge.web.gather import summary_of
from edge.web.laboratory import Laboratory
from edge.web.parts import Parts
from edge.web.pictures import Pictures
from edge.web.store import Store

log = logging.getLogger(__name__)

# Slow clients are cut off: headers, and a connection that says nothing.
KEEP_ALIVE_S, CONNECTIONS_LIMIT, STOP_S = 30, 100, 3
HIDDEN_KEYS = ("password", "secret", "token")


def command(options: argparse.Namespace) -> int:
    """`leukoscope web`."""
    config = find(options.config)
    settings = load(config)
    listen = options.listen or settings.web.listen
    host, port = host_and_port(listen, "--listen" if options.listen else "[web] listen", "127.0.0.1:8080")
    parts = make_parts(settings, listen, loopback=is_loopback(host), config=config)
    app = make_app(parts, host_names(host, settings.web.hosts), is_loopback(host))
    return serve(app, host, port, settings)


def make_parts(settings: Settings, listen: str, loopback: bool, config: Path | None = None) -> Parts:
    """Everything that the page needs.

    Raises:
        InputError: the page would be open to a network without a password, or a file is missing.
    """
    web = settings.web
    password = Password(web.password_file)
    if not loopback and not password.needed:
        raise InputError(
            f"[web] listen {listen} can be reached from other machines, so a password is needed: write one into "
            "a file that only this user can read, and name it in [web] password_file"
        )
    if bool(web.cert_file) != bool(web.key_file):
        raise InputError("[web] cert_file and key_file go together; give both or none")
    events = Events()
    box = Box(settings.mqtt, settings.device.id, events.publish)
    store = Store(web.database, _classes(settings.model.file))
    archive = Path(settings.archive.directory)
    return Parts(
        box=box,
        store=store,
        pictures=Pictures(archive, settings.model),
        laboratory=Laboratory(settings, config),
        events=events,
        password=password,
        sessions=Sessions(),
        settings=shown_settings(settings),
        report=lambda specimen, language: render(
            summary_of(
                store.results(),
                specimen,
                archive,
                settings.model.file,
                Path(settings.model.directory),
                store.checked_cells,
            ),
            language=language,
        ),
        language=web.language,
        blind=web.blind,
        secure=bool(web.cert_file),
    )


def _classes(model: str) -> Classes | None:
    """The class names of the box's model; None if it is not on this machine."""
    try:
        return Classes(*read_classes(find_model(model)))
    except LeukoscopeError:
        return None


def shown_settings(settings: Settings) -> dict[str, str]:
    """Every setting as the page shows it; what may be a secret is not shown, addresses lose theirs."""
    found = {}
    for table, values in msgspec.to_builtins(settings).items():
        for key, value in values.items() if isinstance(values, dict) else ():
            name = f"{table}.{key}"
            if any(part in key for part in HIDDEN_KEYS) and not key.endswith("_file"):
                found[name] = "•••"
            else:
                found[name] = secrets.redact(secrets.shown_address(_as_written(value)))
    return found


def _as_written(value: object) -> str:
    """As in the settings file."""
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def serve(app: object, host: str, port: int, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 then.

    Raises:
        LeukoscopeError: uvicorn is missing, or the address is taken.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise LeukoscopeError("the page needs uvicorn: pip install 'leukoscope[web]'") from error
    web = settings.web
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS_LIMIT,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=web.cert_file or None,
        ssl_keyfile=web.key_file or None,
    )
    server = uvicorn.Server(config)
    listening = bound(host, port)
    shown = f"{'https' if web.cert_file else 'http'}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    console.summary(f"{NOTICE.upper()}\npage: {shown}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listening])
    return 0


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        LeukoscopeError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(CONNECTIONS_LIMIT)  # whoever reads the address may connect at once
    except OSError as error:
        made.close()
        raise LeukoscopeError(f"[web] listen {host}:{port}: {error.strerror}; choose another port") from error
    return made
