"""Settings of the page."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the page is served, and to whom.

    Attributes:
        listen: HOST:PORT. On a loopback address no password is needed; on any other one password_file must be set.
        password_file: holds the password and nothing else; "" for none.
        cert_file, key_file: PEM of the page's certificate and key; with both the page is served with TLS.
        hosts: host names under which browsers reach the page, besides this machine's own names and addresses.
        language: of the page until a person chooses another one.
        database: where `leukoscope log` stores the results.
        blind: whether the model's verdict is hidden in a review until the person has decided.
    """

    listen: Annotated[str, Meta(min_length=1, max_length=300)] = "127.0.0.1:8080"
    password_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    hosts: list[Annotated[str, Meta(min_length=1, max_length=253)]] = []
    language: Literal["en", "fr", "es", "pt"] = "en"
    database: str = "sqlite:////var/lib/leukoscope-log/results.db"
    blind: bool = True
