"""A network from an ONNX file: a chain of the operators that feed-forward networks export to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.import_arrays import as_array
from eventsnn.conversion.import_chain import SOFTMAX_REMEDY, LayerChain
from eventsnn.conversion.model_file import refuse_pickle
from eventsnn.errors import DataError, MissingDependencyError, ValidationError
from eventsnn.training.files import reason

__all__ = ["ann_from_onnx"]

_NAME = "ann_from_onnx"


def ann_from_onnx(model: Any, input_shape: Iterable[int] | None = None) -> ANN:
    """The network of an ONNX file.

    Parameters
    ----------
    model : path, or onnx.ModelProto
        One input, one output, each operator the next one's only input: Gemm, MatMul, Add of a bias, Conv (two
        dimensions, no dilation), BatchNormalization, Relu, AveragePool, GlobalAveragePool, MaxPool, GlobalMaxPool,
        Flatten, Reshape to (batch, -1), Dropout, Identity.
    input_shape : (n,) or (height, width, channels), optional
        Channel-last, without the batch; needed where the file leaves sizes open. ONNX's (n, 3, 32, 32) is (32, 32, 3).

    Returns
    -------
    ANN
        Inputs of the first Linear after a Flatten are put into channel-last order.

    Raises
    ------
    MissingDependencyError
        The package onnx is not installed.
    DataError
        The file is missing, a pickle, or no ONNX file.
    ValidationError
        Neither a path nor a model, an operator that is not supported, branches, shapes that do not chain, weights that
        are not finite; the message names the operator.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(f"{_NAME}: needs onnx: pip install 'eventsnn[onnx]'") from error
    if isinstance(model, (str, Path)):
        model = _loaded(onnx, Path(model))
    if not isinstance(model, onnx.ModelProto):
        raise ValidationError(f"{_NAME}: takes a path or an onnx.ModelProto, got {type(model).__name__}")
    graph = model.graph
    reader = _Graph(onnx, graph, input_shape)
    for k, node in enumerate(graph.node):
        reader.take(k, node)
    return reader.build()


def _loaded(onnx: Any, path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    refuse_pickle(path, data[:2], [])
    try:
        model = onnx.load_model(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, onnx and its C++ part each raise classes of their own
        raise DataError(f"{path}: is no intact ONNX file ({error}); export it again") from error
    return model


class _Graph:
    """Follows the one value that runs through the graph; all else must be constants."""

    def __init__(self, onnx: Any, graph: Any, input_shape: Iterable[int] | None) -> None:
        self._to_array = onnx.numpy_helper.to_array
        self._attribute = onnx.helper.get_attribute_value
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValidationError(
                f"{_NAME}: takes a network with one input and one output, got {len(inputs)} and {len(graph.output)}"
            )
        self._value = inputs[0].name
        self._output = graph.output[0].name
        self.chain = LayerChain(_NAME, _shape_of(inputs[0]) if input_shape is None else input_shape)
        self._node: Any = None
        self._options: dict[str, Any] = {}

    def take(self, number: int, node: Any) -> None:
        """One operator."""
        if node.op_type == "Constant":
            self._constants[node.output[0]] = self._constant_value(node)
            return
        if node.op_type == "Identity" and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]]
            return
        with self.chain.layer(f"operator {number}, {node.op_type}{f' {node.name!r}' if node.name else ''}"):
            self._node = node
            self._options = {given.name: self._attribute(given) for given in node.attribute}
            if node.domain not in ("", "ai.onnx") or node.op_type not in _TAKE:
                self.refuse(
                    f"at the end of a network is not supported; {SOFTMAX_REMEDY}"
                    if node.op_type in ("Softmax", "LogSoftmax")
                    else f"is not supported; supported are {', '.join(sorted(_TAKE))}"
                )
            running = [name for name in node.input if name and name not in self._constants]
            if running != [self._value]:
                self.refuse(
                    f"takes {', '.join(map(repr, running)) or 'no value'} where the chain has come to {self._value!r}; "
                    "only chains are supported, no branches, no sums of layers"
                )
            _TAKE[node.op_type](self)
            self._value = node.output[0]

    def build(self) -> ANN:
        """The network, if the chain has come to the output."""
        if self._value != self._output:
            raise ValidationError(
                f"{_NAME}: the output is {self._output!r}, but the chain of operators ends with {self._value!r}"
            )
        return self.chain.build()

    # -- the operator at hand -------------------------------------------------------------------------------------

    def refuse(self, why: str) -> NoReturn:
        self.chain.refuse(why)

    def only(self, name: str, default: Any, allowed: Any) -> None:
        """Refuse an option that is not what is supported."""
        value = self._options.get(name, default)
        if isinstance(value, bytes):
            value = value.decode()
        if value != allowed:
            self.refuse(f"{name} {value!r} is not supported, only {allowed!r}")

    def option(self, name: str, default: Any) -> Any:
        return self._options.get(name, default)

    def constant(self, k: int) -> NDArray[Any]:
        """Input k, which must be a constant."""
        name = self._node.input[k] if k < len(self._node.input) else ""
        if name not in self._constants:
            self.refuse(f"its input {k} ({name!r}) must be a constant")
        array = np.asarray(self._to_array(self._constants[name]))
        if array.dtype.kind not in "iuf":  # bfloat16 comes as a type NumPy does not know
            array = array.astype(np.float32)
        return as_array(name, array)

    def has(self, k: int) -> bool:
        return k < len(self._node.input) and bool(self._node.input[k])

    def is_running(self, k: int) -> bool:
        """Whether input k is the value that runs through the chain."""
        return bool(self._node.input[k] == self._value)

    def pads(self, size: tuple[int, ...]) -> tuple[int, int]:
        """The padding, the same on opposite sides, of a window of `size` at its stride."""
        auto = self.option("auto_pad", b"NOTSET").decode()
        top, left, bottom, right = self.option("pads", [0, 0, 0, 0])
        if auto.startswith("SAME"):
            if any(k % 2 == 0 for k in size) or any(s != 1 for s in self.option("strides", [1, 1])):
                self.refuse(f"auto_pad {auto} is supported for odd windows of stride 1 only")
            return size[0] // 2, size[1] // 2
        if auto == "VALID":
            return 0, 0
        if (top, left) != (bottom, right):
            self.refuse(f"pads {[top, left, bottom, right]} differ between opposite sides, which is not supported")
        return top, left

    def _constant_value(self, node: Any) -> Any:
        [given] = node.attribute
        if given.name != "value":
            raise ValidationError(
                f"{_NAME}: the constant {node.output[0]!r} is given by {given.name}, not by a tensor, which is not "
                "supported"
            )
        return given.t


def _shape_of(value: Any) -> tuple[int, ...]:
    """(n,) or (height, width, channels) of the graph's input (batch, n) or (batch, channels, height, width)."""
    sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
    if len(sizes) not in (2, 4) or 0 in sizes[1:]:
        raise ValidationError(
            f"{_NAME}: its input {value.name!r} has shape {[size or '?' for size in sizes]}; give input_shape=, "
            "(n,) or (height, width, channels)"
        )
    return (sizes[1],) if len(sizes) == 2 else (sizes[2], sizes[3], sizes[1])


# -- one function per operator ------------------------------------------------------------------------------------


def _gemm(graph: _Graph) -> None:
    graph.only("transA", 0, 0)
    if not graph.is_running(0):
        graph.refuse("the weights come first; only inputs @ weights is supported")
    weight = graph.constant(1) * np.float32(graph.option("alpha", 1.0))
    weight = weight if graph.option("transB", 0) else weight.T
    graph.chain.linear(weight, None)
    if graph.has(2):
        graph.chain.add_bias(graph.constant(2) * np.float32(graph.option("beta", 1.0)))


def _matmul(graph: _Graph) -> None:
    if not graph.is_running(0):
        graph.refuse("the weights come first; only inputs @ weights is supported")
    graph.chain.linear(graph.constant(1).T, None)


def _add(graph: _Graph) -> None:
    graph.chain.add_bias(graph.constant(1 if graph.is_running(0) else 0))


def _convolution(graph: _Graph) -> None:
    weight = graph.constant(1)
    if weight.ndim != 4:
        graph.refuse(f"its weights have shape {weight.shape}; only two dimensions are supported, four axes")
    graph.only("dilations", [1, 1], [1, 1])
    bias = graph.constant(2) if graph.has(2) else None
    stride = tuple(graph.option("strides", [1, 1]))
    graph.chain.convolution(weight, bias, stride, graph.pads(weight.shape[2:]), graph.option("group", 1))


def _batch_norm(graph: _Graph) -> None:
    graph.only("training_mode", 0, 0)
    scale, shift, mean, variance = (graph.constant(k) for k in range(1, 5))
    graph.chain.batch_norm(scale, shift, mean, variance, float(graph.option("epsilon", 1e-5)))


def _pool(kind: str) -> Callable[[_Graph], None]:
    def take(graph: _Graph) -> None:
        size = tuple(graph.option("kernel_shape", []))
        if len(size) != 2:
            graph.refuse(f"kernel_shape {list(size)} is not supported, only two dimensions")
        graph.only("dilations", [1, 1], [1, 1])
        padding = graph.pads(size)
        if kind == "avg" and padding != (0, 0):
            graph.only("count_include_pad", 0, 1)  # zeros of the padding count here
        stride = tuple(graph.option("strides", [1, 1]))
        graph.chain.pool(kind, size, stride, padding, ceil_mode=bool(graph.option("ceil_mode", 0)))

    return take


def _flatten(graph: _Graph) -> None:
    graph.only("axis", 1, 1)
    graph.chain.flatten()


def _reshape(graph: _Graph) -> None:
    sizes = graph.constant(1).tolist()
    n = int(np.prod(graph.chain.shape))
    if len(sizes) != 2 or sizes[1] not in (-1, n) or (sizes[1] == -1 and sizes[0] == -1):
        graph.refuse(f"to {sizes} is not supported, only to (batch, {n}); flatten with Flatten")
    graph.chain.flatten()


def _dropout(graph: _Graph) -> None:
    if graph.has(2) and graph.constant(2).any():
        graph.refuse("training_mode is not supported; export the network in evaluation mode")


_TAKE: dict[str, Callable[[_Graph], None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Conv": _convolution,
    "BatchNormalization": _batch_norm,
    "Relu": lambda graph: graph.chain.relu(),
    "AveragePool": _pool("avg"),
    "MaxPool": _pool("max"),
    "GlobalAveragePool": lambda graph: graph.chain.global_pool("avg"),
    "GlobalMaxPool": lambda graph: graph.chain.global_pool("max"),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _dropout,
    "Identity": lambda graph: None,
}
