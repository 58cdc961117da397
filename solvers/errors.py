"""The one exception that means "the input is wrong": the command line turns it into one line and exit status 2."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong input, told in one line: what was expected, what was found, what to do.

    Raised by every room for anything a user can mend (a YAML key, a file, a shape, a range). The command line
    prints the message without a traceback and exits with status 2.
    """
