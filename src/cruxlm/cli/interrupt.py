"""Ctrl-C while libraries load."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of large libraries: Ctrl-C ends the process there and then.

    As an exception it would not always: some compiled modules drop it on their way in, and the
    command runs on. Nothing has been started yet that would have to be undone.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield  # interrupts are ignored, or not ours
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(say_interrupted()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def say_interrupted() -> int:
    """The one line of an interrupt, and its exit code."""
    print("crux: interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED
