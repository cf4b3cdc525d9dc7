"""Members of a folder, a tar or a zip archive, read in memory: nothing is unpacked to disk, no link is followed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

Reader = Callable[[], bytes]


def members(place: Path, patterns: Sequence[str]) -> Iterator[tuple[str, Reader]]:
    """Name and reader of every file, the reader to be called before the next file is asked for.

    In a folder these are the files that match one of the patterns, there or one folder further down.
    """
    if place.is_dir():
        found = {file for pattern in patterns for prefix in ("", "*/") for file in place.glob(prefix + pattern)}
        for file in sorted(found):
            if file.is_file():
                yield file.relative_to(place).as_posix(), file.read_bytes
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, _zip_reader(archive, info)
    else:
        yield from _tar_members(place)


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Reader:
    return lambda: archive.read(info)


def _tar_members(place: Path) -> Iterator[tuple[str, Reader]]:
    with _decompressed(place) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for info in archive:
                if info.isfile():
                    yield info.name, _tar_reader(archive, info)
        while stream.read(1 << 20):  # to its end, where the checksum is
            pass


def _tar_reader(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Reader:
    def read() -> bytes:
        file = archive.extractfile(info)
        assert file is not None  # it is for folders and the like only
        return file.read()

    return read


def _decompressed(place: Path) -> IO[bytes]:
    with place.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(place))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(place))
    if start == b"\xfd7zXZ\x00":
        return cast(IO[bytes], lzma.open(place))
    return place.open("rb")
