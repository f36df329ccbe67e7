"""The error class for everything that a user can cause and fix: printed as one line, without a
traceback, with exit status 2.
"""

import contextlib
import gc
import signal
import sys
from collections.abc import Iterator


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """For the main block of a process: a UserError ends it with one line on stderr and status 2,
    Ctrl-C with status 130.

    It changes the whole process: SIGTERM exits with status 143 through `finally` clauses, so that
    half-written files are removed, and at the end the garbage collector is frozen. Use it under
    `if __name__ == "__main__"`, not in libraries.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        # A last search of all of torch and transformers for garbage would take most of a second.
        gc.freeze()
