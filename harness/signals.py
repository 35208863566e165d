"""The end that a signal brings: 130 after Ctrl-C, 143 when a scheduler or `kill` asks for it."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. Whatever tidies up after Ctrl-C does so after it, too."""


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell would say of a process that the signal ended."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises Terminated where SIGTERM comes in the block, so that children are ended and files are closed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's alone
        return

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first one is enough
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
