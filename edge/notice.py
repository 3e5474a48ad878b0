"""The notice that stands beside every result."""

NOTICE = "research and second opinion only, not a diagnosis"
