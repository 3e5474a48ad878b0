"""The page's texts, one JSON catalogue per language; another language is one more file and its name in LANGUAGES."""

from pathlib import Path

from edge.host import languages
from edge.host.languages import LANGUAGES

NAMES = {"en": "English", "fr": "Français", "es": "Español", "pt": "Português"}


def catalogue(language: str) -> dict[str, str]:
    """Key to text; a text that a catalogue lacks is the English one."""
    return languages.catalogue(Path(__file__).parent, language)


def chosen(cookie: str, accept: str, default: str) -> str:
    """The language of a request: what was chosen, else what the browser prefers, else the default."""
    if cookie in LANGUAGES:
        return cookie
    for part in accept.split(",")[:10]:
        language = part.split(";")[0].strip().lower()[:2]
        if language in LANGUAGES:
            return language
    return default
