"""What the page refuses, with the code of its text: the texts of each language are in edge/web/texts."""

from edge.errors import LeukoscopeError


class PageError(LeukoscopeError):
    """A request cannot be done.

    Args:
        message: in English, for programs and logs.
        code: the page shows the text "error.<code>" of the chosen language.
        status: of HTTP.
    """

    def __init__(self, message: str, code: str, status: int = 400):
        super().__init__(message)
        self.code, self.status = code, status
