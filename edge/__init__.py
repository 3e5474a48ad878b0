"""What runs on the box: cameras, preprocessing, classifier, delivery, daemon and commands."""

__version__ = "0.1.0"
"""As in pyproject.toml. To look it up among the installed packages takes a tenth of the daemon's start."""
