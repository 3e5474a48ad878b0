"""The errors that a user may see: each message names what failed, its value and what to do."""


class LeukoscopeError(Exception):
    """Something failed, and it is not a fault of the program: the command prints the message and exits with 1."""

    exit_status = 1


class InputError(LeukoscopeError):
    """Wrong usage, settings or input: the command prints the message and exits with 2."""

    exit_status = 2


class ImageError(LeukoscopeError):
    """One image cannot be read; the others go on."""
