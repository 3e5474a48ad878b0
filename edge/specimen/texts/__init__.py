"""The words of a specimen's report, one JSON catalogue per language of the page."""

from pathlib import Path

from edge.host import languages


def catalogue(language: str) -> dict[str, str]:
    """Key to text; of a language without a catalogue the English one."""
    return languages.catalogue(Path(__file__).parent, language)
