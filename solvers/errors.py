"""The exception for wrong input."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Wrong input: one line with what was expected, what was found and what to do.

    For anything that a user can correct (a YAML key, a file, a shape, a range). The command line prints the message
    without a traceback and exits with status 2.
    """


def suggestion(word: object, options: Iterable[str]) -> str:
    """``"; did you mean 'kappa'?"``, or nothing when no option is near."""
    near = get_close_matches(str(word), list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class ToleranceWarning(UserWarning):
    """The measured error of an answer exceeds the tolerance that was asked for."""
