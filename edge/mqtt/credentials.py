"""Password, CA certificate, certificate and key of this box; read again when their files change."""

import logging
import os
import ssl
from pathlib import Path

from edge.errors import InputError
from edge.host import secrets
from edge.mqtt.settings import PASSWORD_VARIABLE, MqttSettings

log = logging.getLogger(__name__)

TLS_PORT = 8883
# How the PEM of an encrypted key begins, PKCS #8 and the older form.
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Credentials:
    """What the settings name, as it was last read.

    Args:
        settings: the broker's.
        password: instead of the settings' file and the environment's LEUKOSCOPE_MQTT_PASSWORD.
        tls: True for TLS also without a CA file and on any port.

    Raises:
        InputError: a file cannot be read, or a variable is not set; the key is named.
    """

    def __init__(self, settings: MqttSettings, password: str = "", tls: bool = False):
        self._given_password = password
        secrets.remember(password)
        self.username = secrets.expand(settings.username, "[mqtt] username")
        self._password_file = secrets.expand(settings.password_file, "[mqtt] password_file")
        self._ca_file = secrets.expand(settings.ca_file, "[mqtt] ca_file")
        self._cert_file = secrets.expand(settings.cert_file, "[mqtt] cert_file")
        self._key_file = secrets.expand(settings.key_file, "[mqtt] key_file")
        self._key_password_file = secrets.expand(settings.key_password_file, "[mqtt] key_password_file")
        self._uses_tls = bool(tls or self._ca_file or self._cert_file or settings.port == TLS_PORT)
        self._fault = ""
        self._seen = self._pending = self._stamp()
        self.password, self.tls = self._read()

    def renewed(self) -> bool:
        """Whether the files were changed and read anew; asked every second or so.

        A change is read once it is the same at two calls, since files are written one after the other. Files that do not
        fit together (yet) are reported once, and the earlier ones hold.
        """
        now = self._stamp()
        if now == self._seen:
            return False
        settled, self._pending = now == self._pending, now
        if not settled:
            return False
        self._seen = now
        try:
            self.password, self.tls = self._read()
        except InputError as error:
            if str(error) != self._fault:
                log.error("changed credentials do not work, the earlier ones are kept: %s", error)
            self._fault = str(error)
            return False
        self._fault = ""
        log.info("credentials were renewed")
        return True

    def _files(self) -> list[str]:
        named = (
            self._password_file,
            self._ca_file,
            self._cert_file,
            self._key_file,
            self._key_password_file,
        )
        return [file for file in named if file]

    def _stamp(self) -> tuple[tuple[int, int] | None, ...]:
        stamps: list[tuple[int, int] | None] = []
        for file in self._files():
            try:
                status = Path(file).stat()
                stamps.append((status.st_mtime_ns, status.st_ino))
            except OSError:  # it is being replaced
                stamps.append(None)
        return tuple(stamps)

    def _read(self) -> tuple[str, ssl.SSLContext | None]:
        password = self._given_password or _read_password("password_file", self._password_file)
        password = password or os.environ.get(PASSWORD_VARIABLE, "")
        secrets.remember(password)
        return password, self._context()

    def _context(self) -> ssl.SSLContext | None:
        """Checks the broker's certificate and its host name; there is no switch to leave that out."""
        if not self._uses_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InputError(f"[mqtt] ca_file {self._ca_file}: {error}") from error
        if self._cert_file:
            self._load_certificate(context)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        password = _read_password("key_password_file", self._key_password_file)
        secrets.remember(password)
        key_file = self._key_file or self._cert_file
        try:
            # A function, since OpenSSL asks at the terminal if it is given nothing.
            context.load_cert_chain(self._cert_file, key_file, lambda: password)
        except (OSError, ValueError) as error:
            if _is_encrypted(key_file):
                wrong = f"[mqtt] key_password_file {self._key_password_file}: it is not the password of"
                remedy = (
                    f"{wrong} {key_file}"
                    if password
                    else f"[mqtt] key_file {key_file}: the key is encrypted; set [mqtt] key_password_file to a "
                    "file that holds its password"
                )
                raise InputError(remedy) from error
            files = f"{self._cert_file} {self._key_file}".strip()
            raise InputError(f"[mqtt] cert_file or key_file {files}: {error}") from error


def _is_encrypted(file: str) -> bool:
    try:
        begin = Path(file).read_bytes()
    except OSError:
        return False
    return any(mark in begin for mark in _ENCRYPTED)


def _read_password(key: str, file: str) -> str:
    if not file:
        return ""
    try:
        data = Path(file).read_bytes()
        if encoding := _OTHER_ENCODINGS.get(data[:2]):
            raise InputError(f"[mqtt] {key} {file}: it is {encoding}; save it as UTF-8")
        return data.decode("utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"[mqtt] {key} {file}: {error}") from error
