"""Names that the user gives: tables by name that cannot be changed, and what to say of a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class NameTable(Mapping[str, Value]):
    """A read-only dict in the order given; unlike `types.MappingProxyType` it can be pickled and copied."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> Value:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


def listed(names: Iterable[str]) -> str:
    """The names in quotes, or 'none'."""
    return ", ".join(map(repr, names)) or "none"


def hint(name: Any, known: Iterable[str]) -> str:
    """What to add to a message on an unknown name: the nearest one, and all there are."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" there are: {listed(known)}"


def is_name(name: Any) -> bool:
    """Whether it is a string and not empty."""
    return isinstance(name, str) and bool(name)
