"""Random networks of convolutions and pools on a time grid, twice, as in `grid_cases`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from eventsnn import AvgPool2d, Conv2d, Dense, MaxPool2d, Network, Pooled, Population, Projection
from tests.reference import convolution_numpy as windows
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, GridCase, neuron_pair, random_events

PLANE = (7, 6, 2)
#: by name: options of the first convolution, pools before the second, options of that, or None for a `Dense`
FORMS = {
    "plain": ({}, [], {}),
    "strided": ({"stride": 2, "padding": 1}, [], {"padding": (0, 1)}),
    "uneven": ({"stride": (2, 1), "padding": (1, 0)}, [], {"stride": (1, 3)}),
    "groups": ({"groups": 2}, [], {"groups": 4, "padding": 1}),
    "average": ({}, [(AvgPool2d, 2, {})], {}),
    "overlapping average": ({}, [(AvgPool2d, 3, {"stride": 2, "padding": 1})], None),
    "two averages": ({}, [(AvgPool2d, 2, {}), (AvgPool2d, (1, 2), {})], {"padding": 1}),
    "maximum": ({}, [(MaxPool2d, 2, {})], {}),
    "overlapping maximum": ({}, [(MaxPool2d, 3, {"stride": 2, "padding": 1})], {}),
    "first spike": ({}, [(MaxPool2d, 2, {"rule": "first_spike"})], None),
    "overlapping first spike": ({}, [(MaxPool2d, 3, {"stride": 1, "rule": "first_spike"})], None),
    "two maxima": ({}, [(MaxPool2d, 2, {}), (MaxPool2d, 2, {"stride": 1})], None),
    "maximum, average": ({}, [(MaxPool2d, 2, {}), (AvgPool2d, 2, {})], None),
}


@dataclass
class WindowCase(GridCase):
    """A `GridCase` with planes; `folds`: by name of the weights, what takes a matrix of gradients to their shape."""

    folds: dict = field(default_factory=dict)

    def weights_of(self, gradients):
        """See `GridCase.weights_of`; without what is no parameter."""
        found = dict(zip((f"{name}.weight" for name in self.network.projection_names), gradients, strict=True))
        return {name: fold(found[name]) for name, fold in self.folds.items()}


def convolution_matrix(connection, weight):
    """The matrix of a convolution like `connection`, with other weights."""
    convolve = partial(
        windows.convolve, weight=weight, stride=connection.stride, padding=connection.padding, groups=connection.groups
    )
    return windows.matrix_of(convolve, connection.image_shape)


def average_matrix(pool):
    average = partial(windows.average, size=pool.size, stride=pool.stride, padding=pool.padding)
    return windows.matrix_of(average, pool.image_shape)


def gate_of(pool):
    return partial(windows.Gate, pool.image_shape, pool.size, pool.stride, pool.padding, pool.rule)


def parts_of(connection):
    """Matrix, gates, and the function from gradients of the matrix to those of the weights."""
    if isinstance(connection, AvgPool2d):
        return average_matrix(connection), (), None
    inner, pools = connection, ()
    if isinstance(connection, Pooled):
        inner, pools = connection.connection, connection.pools
    weight = inner.weight.astype(np.float64)
    if isinstance(inner, Conv2d):
        matrix = convolution_matrix(inner, weight)
        # which weight each synapse has: those of a kernel of 1, 2, 3 ...
        numbers = convolution_matrix(inner, np.arange(1.0, weight.size + 1).reshape(weight.shape)).astype(int)
    else:
        matrix, numbers = weight, np.arange(1, weight.size + 1).reshape(weight.shape)
    average = np.eye(len(matrix))
    for pool in reversed([pool for pool in pools if isinstance(pool, AvgPool2d)]):
        average = average_matrix(pool) @ average

    def fold(gradient):
        of_matrix = average.T @ gradient
        sums = np.bincount(numbers.ravel(), of_matrix.ravel(), minlength=weight.size + 1)
        return sums[1:].reshape(weight.shape)

    return average @ matrix, tuple(gate_of(pool) for pool in pools if isinstance(pool, MaxPool2d)), fold


def random_windows(
    seed,
    form="plain",
    kind="if",
    *,
    reset=("subtract", "same_step"),
    delays=False,
    side="none",
    n_steps=16,
    n_samples=3,
    dtype=np.float64,
    readout="same",
):
    """Input `x` onto `a` by a convolution, `a` onto `b` by pools and another connection, `b` onto the readout `out`.

    side : what else there is. "recurrent": a convolution of `a` to itself; "loop": that and `b` back to `a`; "average":
        `x` onto `out2` by an average alone, and on to `out`; "skip": a maximum and a `Dense` from `x` to `b`, and a
        `Dense` from `a` to `out`
    """
    rng = np.random.default_rng([seed, list(FORMS).index(form)])
    first, pools, second = FORMS[form]
    sizes, connections = {"x": int(np.prod(PLANE))}, []
    scale = {"leaky": 0.5, "if": 0.3, "lif": 2.0}.get(kind, 0.2)

    def conv(shape, n_channels, size, mean=0.15, **options):
        lag = int(rng.integers(1, 4)) * DT if delays else 0.0
        fan_in = size * size * shape[2] // options.get("groups", 1)
        drawn = Conv2d.normal(
            shape, n_channels, size, mean=scale * mean, std=scale * 3 / np.sqrt(fan_in), rng=rng, delay=lag, **options
        )
        return drawn.with_values(weight=drawn.weight.astype(dtype))

    def dense(n_pre, n_post):
        weight = scale * rng.normal(0.1, 3 / np.sqrt(n_pre), (n_pre, n_post))
        return Dense(weight.astype(dtype), delay=2 * DT if delays else 0.0)

    def pooled(shape, build, pools):
        made = []
        for pool, size, options in pools:
            made.append(pool(shape, size, **options))
            shape = made[-1].out_shape
        return Pooled(made, build(shape)) if made else build(shape)

    def add(pre, post, connection):
        connections.append((pre, post, connection))
        sizes.setdefault(post, connection.n_post)
        return connection

    plane = add("x", "a", conv(PLANE, 4, 3, **first)).out_shape
    follow = (lambda shape: dense(int(np.prod(shape)), 8)) if second is None else (
        lambda shape: conv(shape, 8, min(2, *shape[:2]), **second)
    )  # fmt: skip
    last = add("a", "b", pooled(plane, follow, pools)).n_post
    if side in ("recurrent", "loop"):
        add("a", "a", conv(plane, 4, 3, mean=-0.2, padding=1))
    if side == "loop":
        back = dense(last, sizes["a"])
        add("b", "a", back.with_values(weight=back.weight - 0.05 * scale))
    if side == "average":
        add("x", "out2", AvgPool2d(PLANE, 2, dtype=dtype))
        add("out2", "out", dense(sizes["out2"], 4))
    if side == "skip":
        add("x", "b", pooled(PLANE, lambda shape: dense(int(np.prod(shape)), last), [(MaxPool2d, 2, {})]))
        add("a", "out", dense(sizes["a"], 4))
    add("b", "out", dense(last, 4))

    neurons = {
        name: neuron_pair(
            "li" if kind == "lif" and name == "out" else kind,
            n,
            rng,
            reset=reset,
            reads_out=readout == "same" and name == "out",
        )
        for name, n in sizes.items()
        if name != "x"
    }
    network = Network(
        {"x": sizes["x"]},
        {name: Population(neuron, sizes[name]) for name, (neuron, _) in neurons.items()},
        [Projection(*own) for own in connections],
    )
    projections, folds = [], {}
    for name, (pre, post, connection) in zip(network.projection_names, connections, strict=True):
        matrix, gates, fold = parts_of(connection)
        projections.append(reference.Projection(pre, post, matrix, int(np.rint(connection.delay / DT)), gates))
        if fold is not None:
            folds[f"{name}.weight"] = fold
    spikes, dense_input = random_events(rng, n_samples, sizes["x"], n_steps)
    return WindowCase(
        network, {name: p for name, (_, p) in neurons.items()}, projections, {"x": spikes}, {"x": dense_input},
        n_steps, folds,
    )  # fmt: skip
