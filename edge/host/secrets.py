"""Secrets in settings: ${NAME} from the environment, addresses without their secrets, and text that leaves the
process without any secret that this process knows."""

import os
import re
import threading
from urllib.parse import quote

from edge.errors import InputError

HIDDEN = "•••"
SHORTEST_REDACTED = 4
"""Minimum length of a secret that is redacted, characters: a shorter value would be found by chance in other text."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Scheme, then everything up to white space or a quote: one address within any text, such as a pipeline.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s\"'<>|]*)")
_QUERY_VALUE = re.compile(r"([^=&#]+)=([^&#]*)")
_SECRET_NAME = re.compile(r"(?i)pass|pwd|token|key|auth|secret")
_known: set[str] = set()
_lock = threading.Lock()


def expand(text: str, key: str) -> str:
    """The text with each ${NAME} replaced from the environment; the values are remembered as secrets.

    Args:
        text: a setting.
        key: its name, for the message.

    Raises:
        InputError: such a variable is not set.
    """
    return _VARIABLE.sub(lambda match: _value(match.group(1), key), text)


def expand_address(text: str, key: str) -> str:
    """As `expand`, but within the user and password of scheme://user:password@host values are percent-encoded,
    so that a password may hold @, / or #.

    Raises:
        InputError: such a variable is not set.
    """
    scheme, mark, rest = text.partition("://")
    if not mark or "@" not in rest:
        return expand(text, key)
    userinfo, _, place = rest.rpartition("@")
    encoded = _VARIABLE.sub(lambda match: quote(_value(match.group(1), key), safe=""), userinfo)
    for part in encoded.split(":")[1:]:
        remember(part)
    return f"{expand(scheme, key)}://{encoded}@{expand(place, key)}"


def remember(secret: str) -> None:
    """Redact this value from now on wherever text leaves the process."""
    if len(secret) >= SHORTEST_REDACTED:
        with _lock:
            _known.update((secret, quote(secret, safe="")))


def forget_all() -> None:
    """Forget all secrets; for tests."""
    with _lock:
        _known.clear()


def redact(text: str) -> str:
    """The text without the secrets that this process knows and without user, password and query of addresses."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, HIDDEN)
    return _ADDRESS.sub(lambda match: _shown_in_text(match.group(0)), text)


def shown_address(address: str) -> str:
    """An address as a message, record or log may show it: scheme, host, port and path; no user, password or query.

    The user ends at the last @ before the query, since a password may hold @ and /. Text that is no address
    is given back as it is.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place = rest.rpartition("@")[2]
    return f"{scheme}://{re.split(r'[?#]', place, maxsplit=1)[0]}"


def _shown_in_text(address: str) -> str:
    bare = address.rstrip(".,:;)")  # of the sentence around it
    return shown_address(bare) + address[len(bare) :]


def _value(name: str, key: str) -> str:
    if name not in os.environ:
        raise InputError(f"{key}: the environment has no {name}; set it, or take ${{{name}}} out")
    value = os.environ[name]
    remember(value)
    return value


def remember_variables(text: str) -> None:
    """Redact from now on the value of every ${NAME} in the text whose variable is set, and what its addresses hold."""
    for name in _VARIABLE.findall(text):
        remember(os.environ.get(name, ""))
    for address in _ADDRESS.finditer(text):
        userinfo, _, place = address["rest"].rpartition("@")
        remember(userinfo.partition(":")[2])
        for name, value in _QUERY_VALUE.findall(place.partition("?")[2]):
            if _SECRET_NAME.search(name):
                remember(value)
