"""The one error class for what a user can cause and mend: printed as one line, exit status 2, no
traceback."""

import contextlib
import gc
import signal
import sys
from collections.abc import Iterator


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Around all that a process does: a UserError ends it with one line on stderr and status 2,
    Ctrl-C with status 130.

    For the rest of the process, SIGTERM exits with status 143 by way of `finally` clauses, so that
    what is half-written is cleared away, and at the end the garbage collector is switched off. So
    this is for `if __name__ == "__main__"`, not for libraries.
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
        # searching all of torch and transformers for garbage would take most of a second
        gc.freeze()
