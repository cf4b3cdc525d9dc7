"""Random streams of a training: every kind of noise has its own, found by a key below the trainer's seed."""

from __future__ import annotations

import numpy as np

__all__ = ["BATCH", "DELAY", "DROPOUT", "FIXED", "IMAGE", "INPUT_TIME", "SAMPLE", "SPIKE", "root_of", "stream"]

#: Keys of the streams. Savepoints depend on them.
FIXED, BATCH, SAMPLE, DELAY, SPIKE, INPUT_TIME, DROPOUT, IMAGE = range(8)


def root_of(seed: int | np.random.SeedSequence) -> np.random.SeedSequence:
    """The seed sequence below which the streams lie."""
    return seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)


def stream(root: np.random.SeedSequence, *key: int) -> np.random.Generator:
    """The generator of a stream, or of a part of it; the same key finds the same one again."""
    place = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key))
    return np.random.Generator(np.random.PCG64(place))
