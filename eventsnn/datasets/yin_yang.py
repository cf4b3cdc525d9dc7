"""The Yin-Yang data set: two interlocked halves and their dots, not linearly separable."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split, generate, spikes_from_times
from eventsnn.encoding import check_window
from eventsnn.errors import ValidationError

__all__ = ["generate_yin_yang", "load_yin_yang", "yin_yang_class"]

CLASS_NAMES = ("yin", "yang", "dot")


@overload
def yin_yang_class(x: float, y: float, r_small: float = ..., r_big: float = ...) -> int: ...
@overload
def yin_yang_class(
    x: NDArray[np.float64], y: NDArray[np.float64], r_small: float = ..., r_big: float = ...
) -> NDArray[np.int64]: ...
def yin_yang_class(x: Any, y: Any, r_small: float = 0.1, r_big: float = 0.5) -> Any:
    """Class of the point (x, y): 0 yin, 1 yang, 2 dot, -1 outside the disc.

    Parameters
    ----------
    x, y : float or array of float
        Coordinates; the disc has its centre at (r_big, r_big).
    r_small, r_big : float
        Radius of the dots and of the disc.

    Returns
    -------
    int, or an int64 array of the common shape of `x` and `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.datasets import yin_yang_class
    >>> yin_yang_class(np.array([0.25, 0.5, 0.5, 0.0]), np.array([0.5, 0.9, 0.1, 0.0]))
    array([ 2,  1,  0, -1])
    """
    # Only arithmetic that floats and arrays share, so that the sampler and a picture's ground truth use one formula.
    d_right = _distance(x, y, 1.5 * r_big, r_big)
    d_left = _distance(x, y, 0.5 * r_big, r_big)
    in_dot = (d_right < r_small) | (d_left < r_small)
    in_left_half = (d_left > r_small) & (d_left <= 0.5 * r_big)
    in_upper_rest = (y > r_big) & (d_right > 0.5 * r_big)
    is_one = (d_right <= r_small) | in_left_half | in_upper_rest
    inside = _distance(x, y, r_big, r_big) <= r_big
    return ((is_one > in_dot) + 2 * in_dot + 1) * inside - 1  # `>`: and not


def _distance(x: Any, y: Any, x0: float, y0: float) -> Any:
    dx, dy = x - x0, y - y0
    return np.sqrt(dx * dx + dy * dy)


def generate_yin_yang(
    n_samples: int, seed: int, r_small: float = 0.1, r_big: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw samples, bit for bit as the published generator does.

    Parameters
    ----------
    n_samples : int
    seed : int
        Seed of `numpy.random.RandomState`; published are 42 (training), 41 (validation), 40 (test).
    r_small, r_big : float
        Radius of the dots and of the disc; ``0 < r_small < r_big / 2 <= 1 / 4``.

    Returns
    -------
    values : float64, shape (n_samples, 4)
        (x, y, 1 - x, 1 - y).
    labels : int64, shape (n_samples,)
        0 yin, 1 yang, 2 dot.

    Raises
    ------
    ValidationError
        Radii out of range.

    Notes
    -----
    For each sample the class is drawn first, then points of the square until one lies in the disc and in that class.

    References
    ----------
    Kriener, Goeltz, Petrovici 2022, "The Yin-Yang dataset", doi 10.1145/3517343.3517380, arXiv 2102.08211.
    """
    if not 0 < r_small < r_big / 2 <= 0.25:
        raise ValidationError(
            "generate_yin_yang: radii must satisfy 0 < r_small < r_big / 2 <= 1/4, "
            f"got r_small={r_small}, r_big={r_big}"
        )
    rng = np.random.RandomState(seed)  # not default_rng: this stream is the published one
    uniform = rng.random_sample
    points, labels = np.empty((n_samples, 2)), np.empty(n_samples, dtype=np.int64)
    for k in range(n_samples):
        goal = rng.randint(3)
        while True:
            x, y = uniform() * 2.0 * r_big, uniform() * 2.0 * r_big
            if yin_yang_class(x, y, r_small, r_big) == goal:
                break
        points[k] = x, y
        labels[k] = goal
    return np.concatenate((points, 1.0 - points), axis=1), labels


def load_yin_yang(
    tau_syn: float = DEFAULT_TAU_SYN,
    t_early: float = 0.15,
    t_late: float = 2.0,
    bias_time: float | None = None,
    n_train: int = 5000,
    n_valid: int = 1000,
    n_test: int = 1000,
    seeds: tuple[int, int, int] = (42, 41, 40),
) -> Dataset:
    """Generate the Yin-Yang data set as spikes.

    Parameters
    ----------
    tau_syn : float
        Synaptic time constant in seconds: the unit of the three times that follow.
    t_early, t_late : float
        Spike times of the values 0 and 1 in units of tau_syn.
    bias_time : float or None
        Time of the spike of a fifth channel in units of tau_syn (0.9 is common); None leaves the channel out.
    n_train, n_valid, n_test : int
        Number of samples.
    seeds : (int, int, int)
        Seeds of the training, validation and test part.

    Returns
    -------
    Dataset
        4 or 5 inputs, classes yin, yang, dot; `values` are (x, y, 1 - x, 1 - y). With the default sizes and seeds the
        samples are the published ones.

    Raises
    ------
    ValidationError
        An argument out of range.

    Examples
    --------
    >>> from eventsnn.datasets import load_yin_yang
    >>> load_yin_yang(n_train=10, n_valid=0, n_test=0, bias_time=0.9).train.spikes.n_neurons
    5
    """
    early, late = check_window("load_yin_yang", t_early, t_late)
    if len(seeds) != 3:
        raise ValidationError(f"load_yin_yang.seeds: must be three integers (train, valid, test), got {seeds!r}")
    for seed in seeds:
        count("load_yin_yang.seeds", seed)

    def draw(n_samples: int, seed: int) -> Split:
        values, labels = generate_yin_yang(n_samples, seed)
        times = early + values * (late - early)  # as published: the value 0 is early
        return Split(spikes_from_times("load_yin_yang", times, tau_syn, bias_time=bias_time), labels, values)

    return generate("yin_yang", CLASS_NAMES, draw, (n_train, n_valid, n_test), seeds)
