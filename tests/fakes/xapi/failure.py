"""How xapi says no."""


class Failure(Exception):  # noqa: N818 -- XAPI's own word
    """What ErrorDescription holds: a code and its parameters."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def description(self) -> list[str]:
        """The list as it goes over the wire."""
        return [self.code, *self.params]


def internal(text: str) -> Failure:
    """Return what xapi makes of an exception that nobody foresaw."""
    return Failure("INTERNAL_ERROR", f'(Failure "{text}")')
