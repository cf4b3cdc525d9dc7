"""What all pictures share: colours, sizes, figures without global state, atomic saving, units of time, input checks."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from eventsnn._names import listed
from eventsnn.connections import Connection, Sparse
from eventsnn.errors import EventSNNError, ValidationError
from eventsnn.graph import Network
from eventsnn.network import Sequential
from eventsnn.neurons import CurrentBased

# Petroff (2021), arXiv 2107.02270: ten colours that stay apart in the common forms of colour blindness.
CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#92dadd", "#e76300", "#a96b59", "#b9ac70", "#717581", "#94a4a2",
)  # fmt: skip
BLUE, ORANGE, RED, PURPLE = CLASS_COLORS[:4]
GRAY, LIGHT_GRAY, DARK = "#8a8f98", "#d9d9d9", "#222222"

TITLE_SIZE, LABEL_SIZE, TICK_SIZE, SMALL_SIZE = 11.0, 10.0, 9.0, 8.0
DPI = 100
_MATRIX_PIXELS = 370  # height of a matrix in its picture
_LONGEST_IN_MS = 2.0  # seconds
_FORMATS = ("png", "pdf", "svg", "jpg", "jpeg", "webp")


def class_color(k: int) -> str:
    """Colour of class k; the palette repeats after ten."""
    return CLASS_COLORS[k % len(CLASS_COLORS)]


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure of that size in inches with its own Agg canvas; pyplot never learns of it."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=TITLE_SIZE)
    return figure


def image_grid(
    n_images: int,
    n_columns: int,
    size: tuple[float, float],
    *,
    gaps: tuple[float, float],
    left: float,
    bottom: float,
    right: float,
    title: str,
) -> tuple[Figure, list[Axes], Axes]:
    """Axes of fixed size in inches in rows of `n_columns`, and tall narrow axes right of them for a colour bar.

    Placed by hand: automatic layouts settle only after several passes when axes have a fixed aspect, and cut labels.
    """
    n_rows = -(-n_images // n_columns)
    step_x, step_y = size[0] + gaps[0], size[1] + gaps[1]
    inner_width, inner_height = n_columns * step_x - gaps[0], n_rows * step_y - gaps[1]
    width, height = left + inner_width + right, bottom + inner_height + 0.6
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(
        (left + inner_width / 2) / width, 1 - 0.2 / height, title, ha="center", va="center", fontsize=TITLE_SIZE
    )  # fmt: skip
    axes = []
    for k in range(n_images):
        row, column = divmod(k, n_columns)
        x, y = left + column * step_x, bottom + inner_height - size[1] - row * step_y
        axes.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    x = left + inner_width + 0.2
    return figure, axes, figure.add_axes((x / width, bottom / height, 0.16 / width, inner_height / height))


def style_axes(
    ax: Axes, *, title: str | None = None, x: str | None = None, y: str | None = None, grid: bool = False
) -> None:
    """Labels in the common sizes; `grid` draws faint lines behind the data."""
    if title is not None:
        ax.set_title(title, fontsize=LABEL_SIZE)
    if x is not None:
        ax.set_xlabel(x, fontsize=LABEL_SIZE)
    if y is not None:
        ax.set_ylabel(y, fontsize=LABEL_SIZE)
    ax.tick_params(labelsize=TICK_SIZE)
    if grid:
        ax.grid(True, which="both", color="#e6e6e6", linewidth=0.6)
        ax.set_axisbelow(True)


def note(ax: Axes, text: str) -> None:
    """A remark in the middle of axes that have nothing to show."""
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=LABEL_SIZE, color=GRAY
    )  # fmt: skip


def set_log_y(ax: Axes) -> None:
    """Logarithmic y axis with plain numbers at 1, 2, 5 of every decade."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=15))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def integer_ticks(axis: Axis, n_ticks: int) -> None:
    """At most about `n_ticks` ticks, at integers."""
    axis.set_major_locator(MaxNLocator(nbins=n_ticks, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure to `path`: drawn in memory, written to a temporary name beside it, fsynced, renamed.

    The format follows the suffix; missing folders are made.

    Raises
    ------
    ValidationError
        A suffix that is not png, pdf, svg, jpg, jpeg or webp.
    EventSNNError
        The file cannot be written (full disk, no permission); an older picture of that name is kept.
    """
    path = Path(path)
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _FORMATS:
        raise ValidationError(f"plotting.save: path must end in one of {', '.join(_FORMATS)}, got {path.name!r}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=DPI)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise EventSNNError(f"plotting.save: cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # its folder is missing or is a file; reported above
            temporary.unlink(missing_ok=True)
    return path


def finish(figure: Figure, path: str | Path | None) -> Figure:
    """Save if a path is given; hand the figure back."""
    if path is not None:
        save(figure, path)
    return figure


@dataclass(frozen=True)
class TimeUnit:
    """The unit of a time axis: `scale` is its length in the library's unit of time, `symbol` its name."""

    scale: float
    symbol: str

    def __call__(self, times: ArrayLike) -> NDArray[np.float64]:
        """Times in this unit; inf stays inf."""
        return np.asarray(times, dtype=np.float64) / self.scale

    def label(self, what: str = "time") -> str:
        """Axis label such as ``time [ms]``."""
        return f"{what} [{self.symbol}]"


def time_unit(where: str, tau_syn: Any = None, unit: str = "tau_syn") -> TimeUnit:
    """Unit of a time axis.

    Parameters
    ----------
    where : str
        Name of the caller, for messages.
    tau_syn : float, array_like or LIF
        The synaptic time constant. Where it differs from neuron to neuron or from receptor to receptor there is no
        common unit, and "tau_syn" becomes "ms".
    unit : {"tau_syn", "s", "ms"}
        "s" and "ms" take the library's times to be seconds.
    """
    fixed = {"s": TimeUnit(1.0, "s"), "ms": TimeUnit(1e-3, "ms")}
    if unit in fixed:
        return fixed[unit]
    if unit != "tau_syn":
        raise ValidationError(f"{where}.unit: must be 'tau_syn', 's' or 'ms', got {unit!r}")
    if isinstance(tau_syn, CurrentBased):
        tau_syn = [tau_syn.tau_syn_of(receptor, tau_syn.n_neurons or 1) for receptor in tau_syn.receptors]
    values = np.unique(np.asarray(tau_syn, dtype=np.float64))
    if values.size == 0 or not np.all(np.isfinite(values)) or values.min() <= 0:
        raise ValidationError(f"{where}.tau_syn: must be finite and > 0, got {tau_syn!r}")
    return TimeUnit(float(values[0]), r"$\tau_\mathrm{syn}$") if values.size == 1 else fixed["ms"]


def graph_of(network: Sequential | Network) -> Network:
    """The network as inputs, populations and projections, whichever way it was built."""
    return network.as_network() if isinstance(network, Sequential) else network


def drives_of(network: Sequential | Network) -> list[tuple[str, str, Connection]]:
    """Source, target and connection of everything that drives a population; of a chain one for each layer."""
    if isinstance(network, Network):
        return [(projection.source, projection.target, projection.connection) for projection in network.projections]
    names = ["input", *(layer.name for layer in network.layers)]
    return [(source, layer.name, layer.connection) for source, layer in zip(names, network.layers, strict=False)]


def row_name(network: Sequential | Network, source: str, connection: Connection) -> str:
    """What the rows of a connection from `source` are: neurons, or channels where those are repeated or added."""
    return "neuron" if connection.n_pre == graph_of(network).sizes[source] else "channel"


def matrix_of(connection: Connection, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Values of the synapses as (n_pre, n_post), 0 where there is no synapse; of a `Dense` as they are.

    Of a convolution those of one window: a row for each of its places and input channels, a column for each output.
    """
    if not isinstance(connection, Sparse):
        return values.reshape(-1, values.shape[-1])
    indptr, indices, _, _ = connection.rows()
    matrix = np.zeros((connection.n_pre, connection.n_post))
    matrix[np.repeat(np.arange(connection.n_pre), np.diff(indptr)), indices] = values
    return matrix


def is_clocked(result: Any) -> bool:
    """Whether a result is that of a time grid; without its class, which would load the compiler."""
    return hasattr(result, "n_steps")


def axis_unit(where: str, result: Any, neuron: Any, unit: str | None, span: float) -> TimeUnit:
    """Unit of the time axis of a result's picture: that asked for, or the usual one of an axis of length `span`."""
    if is_clocked(result):
        if unit in (None, "step"):
            return TimeUnit(result.dt, "step")
        if unit == "tau_syn":
            raise ValidationError(f"{where}.unit: must be 'step', 's' or 'ms' for a time grid, got {unit!r}")
    if unit is None:
        is_chain = isinstance(result.network, Sequential)
        unit = "tau_syn" if is_chain else "ms" if span <= _LONGEST_IN_MS else "s"
    return time_unit(where, neuron, unit)


# -- input checks ---------------------------------------------------------------------------------------------


def check_labels(where: str, labels: ArrayLike, n_classes: int | None = None, lowest: int = 0) -> NDArray[np.int64]:
    """Class labels as int64, shape (n,), each in ``lowest .. n_classes - 1``."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValidationError(f"{where}: must have shape (n_samples,), got {array.shape}")
    if array.size and array.dtype.kind not in "iub":
        raise ValidationError(f"{where}: must hold integers, got dtype {array.dtype}")
    array = array.astype(np.int64)
    bad = array < lowest
    if n_classes is not None:
        bad |= array >= n_classes
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        upper = "" if n_classes is None else f" .. {n_classes - 1}"
        raise ValidationError(f"{where}: entry {k} is {array[k]}, must lie in {lowest}{upper}")
    return array


def check_first_times(where: str, first_times: ArrayLike) -> NDArray[np.float64]:
    """First spike times as float64, shape (n_samples, n_neurons); inf is silent, NaN and negative times are errors."""
    array = np.asarray(first_times, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValidationError(f"{where}: must have shape (n_samples, n_neurons), got {array.shape}")
    bad = np.isnan(array) | (array < 0)
    if bad.any():
        sample, neuron = np.argwhere(bad)[0]
        raise ValidationError(
            f"{where}: sample {sample}, neuron {neuron} is {array[sample, neuron]}; must be >= 0, or inf for silent"
        )
    return array


def check_class_names(where: str, class_names: Sequence[str] | None, n_classes: int) -> list[str]:
    """Names of the classes; the class numbers where none are given."""
    if class_names is None:
        return [str(k) for k in range(n_classes)]
    if len(class_names) != n_classes:
        raise ValidationError(f"{where}: {n_classes} names are needed, got {len(class_names)}")
    return [str(name) for name in class_names]


def check_index(where: str, index: Any, size: int, size_name: str) -> int:
    """An index in ``0 .. size - 1``."""
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < size:
        raise ValidationError(f"{where}: must be an integer in 0 .. {size - 1} ({size_name}={size}), got {index!r}")
    return int(index)


def check_neurons(where: str, neurons: ArrayLike, n_neurons: int) -> NDArray[np.int64]:
    """A non-empty selection of neuron indices."""
    array = np.atleast_1d(np.asarray(neurons))
    if array.size == 0:
        raise ValidationError(f"{where}: needs at least one neuron")
    return check_labels(where, array, n_neurons)


def check_name(where: str, name: Any, known: Iterable[str], what: str = "population") -> str:
    """A name that is known."""
    names = list(known)
    if name not in names:
        raise ValidationError(f"{where}: no {what} {name!r}; there are {listed(names)}")
    return str(name)


def some_neurons(where: str, neurons: ArrayLike | None, size: int) -> NDArray[np.int64]:
    """Checked neurons of a population to draw an axes each for; of None all up to ten, else six spread evenly."""
    if neurons is None:
        neurons = np.arange(size) if size <= 10 else evenly_spaced(size, 6)
    return check_neurons(where, neurons, size)


def evenly_spaced(n_total: int, n_chosen: int) -> NDArray[np.int64]:
    """At most `n_chosen` indices spread evenly over ``0 .. n_total - 1``: a choice that does not flatter."""
    return np.unique(np.linspace(0, n_total - 1, min(n_chosen, n_total)).round().astype(np.int64))


def n_bins_of(values: NDArray[Any]) -> int:
    """Bins of a histogram: with the cube root of the number of values, from 5 to 100."""
    return int(np.clip(round(3 * values.size ** (1 / 3)), 5, 100))


def smoothing_of(matrix: NDArray[Any]) -> str:
    """Interpolation of an image: smooth only where a matrix has more rows or columns than its picture has pixels."""
    return "nearest" if max(matrix.shape) <= _MATRIX_PIXELS else "auto"


def matrix_bar(figure: Figure, ax: Axes, image: Any, label: str, extend: str) -> None:
    """The colour bar of a matrix."""
    bar = figure.colorbar(image, ax=ax, extend=extend, pad=0.02, aspect=30)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    bar.set_label(label, fontsize=LABEL_SIZE)
