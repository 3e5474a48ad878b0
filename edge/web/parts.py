"""What the page is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from edge.web.access import Password, Sessions
from edge.web.box import Box
from edge.web.events import Events
from edge.web.laboratory import Laboratory
from edge.web.pictures import Pictures
from edge.web.store import Store


@dataclass
class Parts:
    """What the page is made of.

    Attributes:
        box, store, pictures, laboratory, events: see there.
        password, sessions: who may use it.
        settings: what the settings page shows: key to value, without secrets.
        report: gives the report of a specimen, in a language, as HTML.
        language: until a person chooses.
        blind: whether a review hides the model's verdict until the person has decided.
        secure: whether the page is served with TLS.
    """

    box: Box
    store: Store
    pictures: Pictures
    laboratory: Laboratory
    events: Events
    password: Password
    sessions: Sessions
    settings: dict[str, str]
    report: Callable[[str, str], str]
    language: str
    blind: bool
    secure: bool
