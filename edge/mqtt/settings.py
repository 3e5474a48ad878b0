"""Settings of the broker."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The broker.

    Attributes:
        host, port: where it is; port 8883 means TLS.
        version: "auto" tries MQTT 5, then 3.1.1.
        topic: the root of all topics; no wildcards.
        username: "" for none.
        password_file: holds the password and nothing else; "" for none, or for the environment's
            LEUKOSCOPE_MQTT_PASSWORD.
        ca_file: PEM of the authority that signed the broker's certificate; with it, TLS; "" for the system's.
        cert_file, key_file: PEM of this box's own certificate and key; "" for none.
        keepalive_s: seconds without traffic until the broker is asked whether it is there.

    username and the files may hold ${NAME} of the environment. Files that are renewed are read again and used
    for a new connection, without a restart.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    topic: Annotated[str, Meta(pattern=r"^[^+#/$\x00][^+#\x00]*$")] = "leukoscope"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 30
