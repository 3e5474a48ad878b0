"""Settings of the broker, and MQTT's own rules for the names of topics (MQTT 5 §1.5.4, §4.7)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.host.address import bare_host

PASSWORD_VARIABLE = "LEUKOSCOPE_MQTT_PASSWORD"
"""The environment may hold the broker's password in place of a file."""

LONGEST_TOPIC_BYTES = 65_535
"""A string of MQTT has a length of two bytes."""

_NONCHARACTERS = range(0xFDD0, 0xFDF0)
# No wildcards, no control characters, no code points that are no characters; at the beginning neither $ nor /.
_FORBIDDEN = r"+#\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
_TOPIC = rf"\A[^/${_FORBIDDEN}][^{_FORBIDDEN}]*\Z"
# Characters of 4 bytes at most: with the id and the rest of a topic still below MQTT's 65,535 bytes.
LONGEST_TOPIC = 16_000


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The broker.

    Attributes:
        host, port: where it is; an IPv6 address with or without brackets; port 8883 means TLS.
        version: "auto" tries MQTT 5, then 3.1.1.
        topic: the root of all topics; no wildcards, no control characters, not "/" or "$" first.
        username: "" for none.
        password_file: holds the password and nothing else; "" for none, or for the environment's
            LEUKOSCOPE_MQTT_PASSWORD.
        ca_file: PEM of the CA certificate that signed the broker's certificate; with it, TLS; "" for the system's.
        cert_file, key_file: PEM of this box's own certificate and key; "" for none.
        key_password_file: holds the password of an encrypted key_file and nothing else; "" for none.
        keepalive_s: seconds without traffic until the box asks whether the broker is there.
        home_assistant: Home Assistant's discovery prefix, "homeassistant" unless it was changed there: the box
            announces itself to it; "" for not at all.

    username and the files may hold ${NAME} of the environment. Files that are renewed are read again and used
    for a new connection, without a restart.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    topic: Annotated[
        str,
        Meta(
            pattern=_TOPIC,
            max_length=LONGEST_TOPIC,
            description='a topic without "+", "#" and control characters that does not begin with "/" or "$"',
        ),
    ] = "leukoscope"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    key_password_file: str = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 30
    home_assistant: Annotated[
        str,
        Meta(
            pattern=rf"{_TOPIC}|\A\Z",
            max_length=LONGEST_TOPIC,
            description='the discovery prefix of Home Assistant, such as "homeassistant", or ""',
        ),
    ] = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "host", bare_host(self.host))


def topic_fault(topic: str) -> str:
    """Why nobody may publish to this topic, or "".

    A broker may close the connection of who publishes to a topic with control characters, so they count too.
    """
    if not topic:
        return "it is empty"
    if "+" in topic or "#" in topic:
        return "it holds a wildcard, + or #"
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return "it is not UTF-8"
    if size > LONGEST_TOPIC_BYTES:
        return f"it has {size} bytes, and {LONGEST_TOPIC_BYTES} are the most"
    if any(_is_control(ord(sign)) for sign in topic):
        return "it holds a control character"
    return ""


def _is_control(code: int) -> bool:
    """U+0000 to U+001F, U+007F to U+009F, and the code points that are no characters."""
    return code < 0x20 or 0x7F <= code <= 0x9F or code in _NONCHARACTERS or code & 0xFFFE == 0xFFFE
