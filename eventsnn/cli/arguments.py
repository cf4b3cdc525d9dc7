"""Types of arguments that several commands take."""

from __future__ import annotations

import argparse
import math

__all__ = ["natural", "percent", "positive", "scales", "several", "share"]


def positive(text: str) -> int:
    """An integer >= 1."""
    return _integer(text, 1)


def several(text: str) -> int:
    """An integer >= 2."""
    return _integer(text, 2)


def natural(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, 0)


def percent(text: str) -> float:
    """A number > 0 and <= 100."""
    return _number(text, 100.0, "must be a number > 0 and <= 100")


def share(text: str) -> float:
    """A number > 0 and <= 0.5."""
    return _number(text, 0.5, "must be a share > 0 and <= 0.5, such as 0.005")


def scales(text: str) -> tuple[float, ...]:
    """Numbers > 0, separated by commas, none of them twice."""
    found = tuple(_number(part, math.inf, "must be numbers > 0 such as 0.6,0.8,1.0") for part in text.split(","))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"must be different numbers, got {text!r}")
    return found


def _number(text: str, most: float, rule: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= most or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return value


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
    return value
