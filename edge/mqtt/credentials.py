"""Who the box is to the broker, and whom it trusts: password, authority, certificate; read anew when renewed."""

import logging
import os
import re
import ssl
from pathlib import Path

from edge.errors import InputError
from edge.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "LEUKOSCOPE_MQTT_PASSWORD"
TLS_PORT = 8883
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Credentials:
    """What `settings` name, as it was last read.

    Args:
        settings: the broker's.
        password: instead of the settings' file and the environment's LEUKOSCOPE_MQTT_PASSWORD.
        tls: True for TLS also without a CA file and on any port.

    Raises:
        InputError: a file cannot be read, or a variable is not set; the key is named.
    """

    def __init__(self, settings: MqttSettings, password: str = "", tls: bool = False):
        self._given_password = password
        self.username = _expand("username", settings.username)
        self._password_file = _expand("password_file", settings.password_file)
        self._ca_file = _expand("ca_file", settings.ca_file)
        self._cert_file = _expand("cert_file", settings.cert_file)
        self._key_file = _expand("key_file", settings.key_file)
        self._uses_tls = bool(tls or self._ca_file or self._cert_file or settings.port == TLS_PORT)
        self._fault = ""
        self._seen = self._pending = self._stamp()
        self.password, self.tls = self._read()

    def renewed(self) -> bool:
        """Whether the files were changed and read anew; asked every second or so.

        A change is read when it has stood from one call to the next. Files that do not fit together (yet)
        are reported once, and the earlier ones hold.
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
        named = (self._password_file, self._ca_file, self._cert_file, self._key_file)
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
        password = self._given_password or _read_password(self._password_file)
        return password or os.environ.get(PASSWORD_VARIABLE, ""), self._context()

    def _context(self) -> ssl.SSLContext | None:
        """Checks the broker's certificate and its host name; there is no switch to leave that out."""
        if not self._uses_tls:
            return None
        key = "ca_file"
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
            key = "cert_file or key_file"
            if self._cert_file:
                context.load_cert_chain(self._cert_file, self._key_file or None)
        except OSError as error:  # ssl.SSLError is one too
            file = self._ca_file if key == "ca_file" else f"{self._cert_file} {self._key_file}".strip()
            raise InputError(f"[mqtt] {key} {file}: {error}") from error
        return context


def _expand(key: str, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"[mqtt] {key}: the environment has no {name}")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _read_password(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"[mqtt] password_file {file}: {error}") from error
