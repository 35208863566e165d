"""Errors that are the user's to mend: one clear line, no traceback, exit code 2 on the command line."""


class UserError(Exception):
    """A request that cannot be carried out as given.

    The message is a single line that names the key, the value and what is allowed.
    """


class WrongBatch(UserError):
    """A benchmark yields other batches than the method reads; `wanted` names what it reads."""

    def __init__(self, message: str, wanted: str) -> None:
        super().__init__(message)
        self.wanted = wanted


class NonFiniteLoss(UserError):
    """A term of the loss became NaN or infinite; training stops at that step."""
