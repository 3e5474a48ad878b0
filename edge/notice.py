"""What every surface that shows a result says beside it."""

NOTICE = "research and second opinion only, not a diagnosis"
