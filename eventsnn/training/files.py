"""Files that survive a crash: written under a temporary name, flushed to the disk, renamed into place."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from eventsnn.errors import CheckpointError

__all__ = ["reason", "sync_folder", "write_bytes_atomic", "write_json_atomic", "write_synced"]


def reason(error: OSError) -> str:
    """Why a file operation failed, in words and without the path (the message around it names the file)."""
    return error.strerror or str(error) or type(error).__name__


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it outlives a power cut."""
    if os.name == "nt":  # folders cannot be opened there; NTFS journals its names itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush it to the disk (not atomic: for files inside a temporary folder)."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old content or the new one, never a part.

    One process at a time may write a given path: the temporary name is ``.<name>.tmp`` beside it, which also means
    that what a crash left behind is overwritten by the next write.

    Raises
    ------
    CheckpointError
        The file cannot be written (full disk, no permission, missing folder); the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            write_synced(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({reason(error)}); what was there before is untouched. Free some disk space "
            "or choose another folder"
        ) from error


def write_json_atomic(path: Path, obj: Any) -> None:
    """Write `obj` as JSON with `write_bytes_atomic`; NaN and infinities, which JSON does not know, become null."""
    text = json.dumps(_without_non_finite(obj), indent=1, allow_nan=False)
    write_bytes_atomic(path, (text + "\n").encode("ascii"))


def _without_non_finite(obj: Any) -> Any:
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, dict):
        return {key: _without_non_finite(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [_without_non_finite(value) for value in obj]
    return obj
