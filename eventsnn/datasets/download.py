"""Files from the web, once: checked against their sha256 and kept in the user's cache."""

from __future__ import annotations

from pathlib import Path

from eventsnn.errors import DataError, MissingDependencyError


def download(where: str, url: str, sha256: str, name: str) -> Path:
    """Path of the downloaded file, called `name` in pooch's cache; errors name `where`, the loader that wants it."""
    try:
        import pooch
    except ImportError as error:
        raise MissingDependencyError(f"{where}(download=True) needs pooch: pip install pooch") from error
    try:
        return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=name))
    except Exception as error:  # network, disk and checksum errors come in many types
        raise DataError(f"{where}: could not download {url}: {error}; give a local file as path") from error
