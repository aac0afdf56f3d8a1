"""Types of arguments, which say why they refuse a text."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from cloudkitty import errors
from cloudkitty.core import timeframe

_Value = TypeVar('_Value')


def checked(convert: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return *convert* as a type for argparse.

    :param convert: raises InvalidInput, whose text is shown.
    """

    def converted(text: str) -> _Value:
        try:
            return convert(text)
        # Of any other error argparse shows the name of the function.
        except errors.InvalidInput as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return converted


# Aware UTC; of whole seconds, or with microseconds.
moment = checked(timeframe.parse)
exact_moment = checked(timeframe.parse_exact)
