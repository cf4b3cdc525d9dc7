"""Types of arguments that several commands take."""

from __future__ import annotations

import argparse

__all__ = ["natural", "positive", "several"]


def positive(text: str) -> int:
    """An integer >= 1."""
    return _integer(text, 1)


def several(text: str) -> int:
    """An integer >= 2."""
    return _integer(text, 2)


def natural(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
    return value
