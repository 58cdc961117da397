"""The exception for wrong input."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong input: one line with what was expected, what was found and what to do.

    For anything that a user can correct (a YAML key, a file, a shape, a range). The command line prints the message
    without a traceback and exits with status 2.
    """
