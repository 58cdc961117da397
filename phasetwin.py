"""phasetwin: phase-field sweeps and digital twins. The front door; each room brings its own commands."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer

from solvers.errors import InputError
from sweeps.monitoring.progress import lines_on_stderr

#: Rooms whose ``cli.add_commands(app)`` adds verbs, in the order of the help page.
ROOMS = ("sweeps", "surrogate", "studies.inverse", "studies.twin")
#: typer may carry its own copy of click: take the class from where it is exported.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # type: ignore[assignment]
INTERRUPTED = 130
#: Errors of the file system, not of this program.
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def build_app() -> typer.Typer:
    """The command line of all rooms."""
    app = typer.Typer(
        help="Phase-field sweeps and digital twins: a YAML file in, checked microstructures out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for room in ROOMS:
        import_module(f"{room}.cli").add_commands(app)
    return app


def _complain(message: str) -> int:
    # A file may hold characters that the terminal's encoding does not.
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    line = " ".join(message.split()).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=sys.stderr)
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit status: 0 done, 1 some points failed, 2 the input is wrong, 130 interrupted.
    """
    try:
        with lines_on_stderr():
            status = build_app()(args=arguments, prog_name="phasetwin", standalone_mode=False)
    except InputError as error:
        return _complain(str(error))
    except UsageError as error:
        message = error.format_message()  # type: ignore[attr-defined]
        # Without any argument typer has printed the help page and has nothing to add.
        return _complain(f"{message} (see `phasetwin --help`)") if message else 2
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        return _complain(f"{error.filename or 'output'}: {error.strerror}; run again when that is mended")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        print("interrupted; run again to resume", file=sys.stderr)
    return status or 0


def command() -> NoReturn:
    """The program ``phasetwin``: :func:`main`, and the end of the process.

    What Python does at an orderly end is done, but for taking apart all that torch has loaded: nearly a second for
    memory that the system frees at once.
    """
    status = main()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # of a reader that has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    command()
