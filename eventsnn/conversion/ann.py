"""A feed-forward network with ReLU as NumPy arrays: what a conversion starts from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from eventsnn._synapses import real_array
from eventsnn._validation import index_array
from eventsnn.conversion.ann_forward import forward
from eventsnn.conversion.ann_layers import ANNLayer, BatchNorm, Convolution, Linear, Shape
from eventsnn.conversion.ann_state import layers_of_state, state_of_layers
from eventsnn.conversion.model_file import read_model, write_model
from eventsnn.errors import ValidationError

__all__ = ["ANN"]

#: values of the widest layer of a block of samples, 16 MB in float32: memory stays bounded, and a weight that is read
#: from it serves many samples
_BLOCK_VALUES = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class ANN:
    """A trained feed-forward network, layer after layer, in NumPy arrays.

    Parameters
    ----------
    layers : sequence of Linear, Convolution, BatchNorm, ReLU, AvgPool, MaxPool, Dropout, Flatten
        Of `eventsnn.conversion`. Kept as a tuple.
    input_shape : (n,) or (height, width, channels)
        Shape of one sample; images are channel-last.

    Attributes
    ----------
    shapes : list of tuples, the shape after each layer
    n_outputs : number of values after the last layer
    dtype : float64 if an array of some layer is, else float32; what `outputs` computes in

    Raises
    ------
    ValidationError
        Something that is no layer, or layers whose shapes do not chain; the message names the layer by its number.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, Linear, ReLU
    >>> ann = ANN([Linear([[1.0, -1.0], [0.5, 2.0]]), ReLU(), Linear([[1.0], [2.0]], bias=[0.5])], input_shape=(2,))
    >>> ann
    ANN((2,): Linear(2 -> 2, no bias), ReLU(), Linear(2 -> 1))
    >>> ann.shapes, ann.outputs([[1.0, 1.0]])
    ([(2,), (2,), (1,)], array([[4.]]))
    """

    layers: tuple[ANNLayer, ...]
    input_shape: Shape

    def __init__(self, layers: Iterable[ANNLayer], input_shape: Iterable[int]) -> None:
        object.__setattr__(self, "input_shape", _checked_shape(input_shape))
        object.__setattr__(self, "layers", tuple(layers) if isinstance(layers, Iterable) else ())
        if not self.layers:
            raise ValidationError(f"ANN.layers: must be a sequence of at least one layer, got {layers!r}")
        _ = self.shapes

    @cached_property
    def shapes(self) -> list[Shape]:
        """Shape after each layer."""
        shape, shapes = self.input_shape, []
        for k, layer in enumerate(self.layers):
            if not isinstance(layer, ANNLayer):
                raise ValidationError(
                    f"ANN.layers[{k}]: must be a layer of eventsnn.conversion (Linear, Convolution, BatchNorm, ReLU, "
                    f"AvgPool, MaxPool, Dropout, Flatten), got {layer!r}"
                )
            try:
                shape = layer.output_shape(shape)
            except ValidationError as error:
                before = f"layer {k - 1} ({self.layers[k - 1]!r})" if k else "the input_shape"
                raise ValidationError(
                    f"ANN.layers[{k}] {error}, from {before}; the shapes of the layers must chain"
                ) from None
            shapes.append(shape)
        return shapes

    @property
    def n_inputs(self) -> int:
        """Number of values of one sample."""
        return math.prod(self.input_shape)

    @property
    def n_outputs(self) -> int:
        """Number of values after the last layer."""
        return math.prod(self.shapes[-1])

    @cached_property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64."""
        found = [layer.weight.dtype for layer in self.layers if isinstance(layer, (Linear, Convolution))]
        found += [layer.scale.dtype for layer in self.layers if isinstance(layer, BatchNorm)]
        return np.dtype(np.float64 if np.dtype(np.float64) in found or not found else np.float32)

    # -- values ---------------------------------------------------------------------------------------------------

    def outputs(self, x: ArrayLike, *, batch_size: int | None = None) -> NDArray[np.floating]:
        """Values after the last layer, before any softmax.

        Parameters
        ----------
        x : array_like of float, shape (n, *input_shape) or (n, n_inputs)
            In the units the network was trained on (pixels often as value / 255).
        batch_size : int >= 1, optional
            Samples taken at a time; default: so many that the values of the widest layer take some 16 MB.

        Returns
        -------
        (n, n_outputs) array in `dtype`

        Raises
        ------
        ValidationError
            Another shape, no real numbers, values that are not finite, uint8 pixels that nobody scaled.
        """
        samples = self.samples(x)
        out = np.empty((len(samples), self.n_outputs), self.dtype)
        for block in self._blocks(len(samples), batch_size):
            values = samples[block].astype(self.dtype, copy=False)
            for layer in self._typed:
                values = forward(layer, values, in_place=not np.may_share_memory(values, samples))
            out[block] = values.reshape(len(values), self.n_outputs)
        return out

    def activations(self, x: ArrayLike) -> list[NDArray[np.floating]]:
        """The values after every layer, each (n, *shapes[k]); `x` as in `outputs`, all samples at once."""
        values = self.samples(x).astype(self.dtype, copy=False)
        found = []
        for layer in self._typed:
            values = forward(layer, values)
            found.append(values)
        return found

    def predict(self, x: ArrayLike, *, batch_size: int | None = None) -> NDArray[np.int64]:
        """The index of the largest output of each sample, (n,); the first of equals."""
        found: NDArray[np.int64] = self.outputs(x, batch_size=batch_size).argmax(1)
        return found

    def accuracy(self, x: ArrayLike, labels: ArrayLike, *, batch_size: int | None = None) -> float:
        """Share of samples whose largest output is their label, an integer in 0 .. n_outputs - 1."""
        wanted = index_array("ANN.accuracy.labels", labels, self.n_outputs, "n_outputs")
        found = self.predict(x, batch_size=batch_size)
        if wanted.shape != found.shape or not found.size:
            raise ValidationError(
                f"ANN.accuracy: needs one label per sample and at least one sample, got {wanted.size} labels and "
                f"{found.size} samples"
            )
        return float((found == wanted).mean())

    def samples(self, x: ArrayLike, name: str = "ANN.x") -> NDArray[Any]:
        """`x` checked as in `outputs`, as (n, *input_shape); `name` is what errors call it."""
        array = real_array(name, x)
        wanted = self.input_shape
        if array.ndim == 3 and len(wanted) == 3 and wanted[2] == 1 and array.shape[1:] == wanted[:2]:
            array = array[..., np.newaxis]
        if array.shape[1:] not in (wanted, (self.n_inputs,)) or array.ndim < 2:
            channel_first = len(wanted) == 3 and array.shape[1:] == (wanted[2], *wanted[:2])
            more = "; images are channel-last here: x.transpose(0, 2, 3, 1)" if channel_first else ""
            raise ValidationError(
                f"{name}: must have shape (n, {', '.join(map(str, wanted))})"
                + (f" or (n, {self.n_inputs})" if len(wanted) == 3 else "")
                + f", got {array.shape}{more}"
            )
        if array.dtype == np.uint8:
            raise ValidationError(
                f"{name}: has dtype uint8; scale pixels as the network was trained on (often x / 255) and give floats"
            )
        if not np.isfinite(array).all():
            place = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
            raise ValidationError(f"{name}: must be finite, got {array[place]} at {list(place)}")
        return array.reshape(len(array), *wanted)

    def _blocks(self, n: int, batch_size: int | None) -> Iterator[slice]:
        if batch_size is None:
            batch_size = max(1, _BLOCK_VALUES // self._widest)
        elif isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValidationError(f"ANN.batch_size: must be an integer >= 1, got {batch_size!r}")
        return (slice(k, k + batch_size) for k in range(0, n, int(batch_size)))

    @cached_property
    def _widest(self) -> int:
        """Values per sample of the widest layer, the input included."""
        return max(math.prod(shape) for shape in (self.input_shape, *self.shapes))

    # -- other forms ----------------------------------------------------------------------------------------------

    @cached_property
    def _typed(self) -> tuple[ANNLayer, ...]:
        """The layers, all arrays in `dtype`."""
        return tuple(_as_type(layer, self.dtype) for layer in self.layers)

    def astype(self, dtype: DTypeLike) -> ANN:
        """The network with all its arrays in float32 or float64."""
        wanted = np.dtype(dtype)
        if wanted not in (np.float32, np.float64):
            raise ValidationError(f"ANN.astype: takes float32 or float64, got {wanted}")
        return ANN((_as_type(layer, wanted) for layer in self.layers), self.input_shape)

    def folded(self) -> ANN:
        """The same function without BatchNorm and Dropout, and with every ReLU before the MaxPool that it follows.

        Raises
        ------
        ValidationError
            A BatchNorm that no neighbour can take exactly; the message names it and says why.
        """
        from eventsnn.conversion.folding import fold

        return ANN(fold(self._typed, [self.input_shape, *self.shapes]), self.input_shape)

    def save(self, path: Path | str, *, dtype: DTypeLike | None = None) -> None:
        """Write the network to one file: an npz with a JSON header and SHA-256 sums, whole or not at all, no pickle.

        Parameters
        ----------
        path : path
            The folder must exist. The same network gives the same bytes.
        dtype : float16, float32, float64, or None for the types the arrays have
            float16 is for the weights, half the size at 11 bits (3 digits); biases and statistics then are float32, and
            `load` gives float32.

        Raises
        ------
        ValidationError
            Another dtype, or a weight beyond the largest float16, 65504.
        CheckpointError
            The file cannot be written; what was there before is untouched.
        """
        write_model(path, "ANN", state_of_layers(self.layers, self.input_shape, dtype))

    @classmethod
    def load(cls, path: Path | str) -> ANN:
        """The network that `save` wrote.

        Raises
        ------
        DataError
            The file is missing, a pickle, truncated, damaged, or holds something else.
        """
        return cls(*layers_of_state(str(path), read_model(path, "ANN")))

    def __repr__(self) -> str:
        return f"ANN({self.input_shape}: {', '.join(map(repr, self.layers))})"


def _checked_shape(shape: Iterable[int]) -> Shape:
    try:
        values = tuple(shape)
    except TypeError:
        values = ()
    if len(values) not in (1, 3) or any(
        isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1 for k in values
    ):
        raise ValidationError(
            f"ANN.input_shape: must be (n,) or (height, width, channels), integers >= 1, got {shape!r}"
        )
    return tuple(int(k) for k in values)


def _as_type(layer: ANNLayer, dtype: np.dtype[Any]) -> ANNLayer:
    if isinstance(layer, (Linear, Convolution)):
        return layer if layer.weight.dtype == dtype else replace(layer, weight=layer.weight.astype(dtype))
    if isinstance(layer, BatchNorm):
        arrays = {name: getattr(layer, name).astype(dtype) for name in ("scale", "shift", "mean", "variance")}
        return replace(layer, **arrays)
    return layer
