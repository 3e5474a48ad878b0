"""Addresses of brokers and databases: read once here, and shown without their secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from edge.errors import InputError, LeukoscopeError
from edge.host import secrets
from edge.host.text import harmless
from edge.mqtt.settings import MqttSettings

PORT, TLS_PORT = 1883, 8883
_ADVICE = "use mqtt://HOST or mqtt://HOST:PORT, with mqtts:// for TLS; a user stands before HOST, as USER@"
_DATABASE_ADVICE = "use sqlite:///FILE or postgresql://HOST/NAME; a user stands before HOST, as USER@"
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/?#\s]+))(?::(?P<port>[^/]*))?/?")
_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg")
# A PostgreSQL that does not answer must not stop the logger's own end.
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
}


@dataclass(frozen=True)
class Broker:
    """A broker's address in its parts; `password` is "" if there is none in it."""

    settings: MqttSettings
    password: str
    tls: bool


def shown(address: str) -> str:
    """The address as a message may show it: one line, without user, password and query."""
    bare = secrets.shown_address(address) if "://" in address else address.rpartition("@")[2]
    return harmless(bare)


def broker(address: str, version: Literal["auto", "5", "3.1.1"], files: Mapping[str, str]) -> Broker:
    """Read mqtt://[user[:password]@]host[:port], or mqtts:// for TLS.

    The password ends at the last @, so that it may hold any sign; %-codes in it are decoded.

    Args:
        address: it may hold ${NAME} of the environment.
        version: of MQTT.
        files: `password_file`, `ca_file`, `cert_file`, `key_file` as in the settings [mqtt].

    Raises:
        InputError: it is not such an address.
    """
    scheme, mark, rest = secrets.expand_address(address, "the broker's address").partition("://")
    if not mark or scheme not in ("mqtt", "mqtts"):
        raise InputError(f"the broker's address is not {shown(address)}: {_ADVICE}")
    user, password, place = _parts(rest)
    found = _PLACE.fullmatch(place)
    if found is None:
        raise InputError(f"the broker's address {shown(address)} cannot be read: {_ADVICE}")
    port = found["port"]
    default = TLS_PORT if scheme == "mqtts" else PORT
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InputError(f"the port in {shown(address)} is not a number from 1 to 65535: {_ADVICE}")
    settings = MqttSettings(
        host=found["six"] or found["host"],
        port=int(port) if port else default,
        version=version,
        username=user,
        password_file=files.get("password_file", ""),
        ca_file=files.get("ca_file", ""),
        cert_file=files.get("cert_file", ""),
        key_file=files.get("key_file", ""),
    )
    return Broker(settings, password, scheme == "mqtts")


def is_database(target: str) -> bool:
    """Whether the address is that of a database."""
    return target.partition(":")[0] in _DATABASES and ":" in target


@dataclass(frozen=True)
class Database:
    """A database's address for SQLAlchemy, and as it may be shown: the same at every start, without secrets.

    Attributes:
        url: a `sqlalchemy.URL`.
        name: with the whole path of an SQLite file.
        file: of SQLite, else None.
    """

    url: Any
    name: str
    file: Path | None
    connect_args: dict[str, Any]


def database(target: str) -> Database:
    """Read sqlite:///FILE or postgresql://[user[:password]@]host[:port]/name.

    Raises:
        InputError: it is not such an address.
        LeukoscopeError: SQLAlchemy is missing.
    """
    try:
        import sqlalchemy
    except ImportError as error:
        raise LeukoscopeError("databases need SQLAlchemy: pip install 'leukoscope[log]'") from error
    unreadable = f"the database's address {shown(target)} cannot be read: {_DATABASE_ADVICE}"
    scheme, mark, rest = target.partition("://")
    if not mark:
        raise InputError(
            f"{shown(target)} is no address of a database; for a file give sqlite:///{shown(target)}"
        )
    if scheme not in _DATABASES:
        raise InputError(unreadable)
    lite = scheme == "sqlite"
    if not lite:
        scheme, _, rest = secrets.expand_address(target, "the database's address").partition("://")
        user, password, place = _parts(rest)
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        rest = f"{login}@{place}" if login else place
    try:
        url = sqlalchemy.make_url(f"{'sqlite' if lite else 'postgresql+psycopg'}://{rest}")
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(unreadable) from None  # it quotes the address, and with it the password
    if not lite:
        patience = {key: value for key, value in _PATIENCE.items() if key not in url.query}
        return Database(url, shown(target), None, patience)
    if not url.database or url.database == ":memory:":
        raise InputError("sqlite:// names no file, and results in memory are lost: use sqlite:///FILE")
    file = Path(url.database).resolve()
    return Database(url, f"sqlite:///{file}", file, {})


def words_of(error: Exception) -> str:
    """What a database's driver reports, in one line, without SQLAlchemy's statement and values, without secrets."""
    text = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    return harmless(secrets.redact(text))


def _parts(rest: str) -> tuple[str, str, str]:
    """User and password, decoded, and what comes after the last @."""
    login, _, place = rest.rpartition("@")
    user, _, password = login.partition(":")
    password = unquote(password)
    secrets.remember(password)
    return unquote(user), password, place
