"""Settings of the broker."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.host.address import bare_host

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

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "host", bare_host(self.host))
