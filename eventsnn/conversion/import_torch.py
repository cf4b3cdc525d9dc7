"""A network from torch's `nn.Sequential`; torch itself is never imported, only the caller's object is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.import_arrays import ann_from_arrays, as_array
from eventsnn.conversion.import_chain import SOFTMAX_REMEDY, LayerChain
from eventsnn.errors import ValidationError

__all__ = ["ann_from_torch"]

_NAME = "ann_from_torch"


def ann_from_torch(module: Any, input_shape: Iterable[int]) -> ANN:
    """The network of a torch module, as it computes after training (``module.eval()``).

    Parameters
    ----------
    module : torch.nn.Sequential, or (state_dict, layers)
        A `Sequential`, nested ones too, of Linear, Conv2d (zero padding, no dilation), BatchNorm1d, BatchNorm2d, ReLU,
        AvgPool2d, MaxPool2d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, Flatten, Dropout, Identity. A module of another
        class has code of its own in `forward`, which cannot be read: give its state_dict, from
        ``torch.load(path, weights_only=True)``, and the list of its layers in the words of `load_ann`.
    input_shape : (n,) or (height, width, channels)
        Channel-last, as images are given to the `ANN`: torch's (3, 32, 32) is (32, 32, 3).

    Returns
    -------
    ANN
        float32 for a float32 module. Inputs of the first Linear after a Flatten are put into channel-last order.

    Raises
    ------
    ValidationError
        A module that is not supported, shapes that do not chain, weights that are not finite; the message names the
        layer by its number and torch's name. A path: eventsnn opens no pickles.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import ann_from_torch
    >>> state = {"0.weight": np.ones((3, 4)), "0.bias": np.zeros(3), "2.weight": np.ones((2, 3))}  # or tensors
    >>> ann_from_torch((state, [("linear", "0"), "relu", ("linear", "2")]), input_shape=(4,))
    ANN((4,): Linear(4 -> 3), ReLU(), Linear(3 -> 2, no bias))
    """
    if isinstance(module, (str, bytes, Path)):
        raise ValidationError(
            f"{_NAME}: takes the module, not a file, because torch's files are pickles, which can run any code; load "
            "it yourself: state = torch.load(path, weights_only=True), then module.load_state_dict(state) and "
            f"{_NAME}(module, input_shape), or {_NAME}((state, layers), input_shape)"
        )
    if isinstance(module, (tuple, list)) and len(module) == 2 and isinstance(module[0], Mapping):
        return ann_from_arrays(_NAME, module[0], module[1], input_shape)
    if isinstance(module, Mapping):
        raise ValidationError(
            f"{_NAME}: a state_dict does not say what its layers are; give (state_dict, layers), see load_ann"
        )
    chain = LayerChain(_NAME, input_shape)
    for name, leaf in _leaves(module, ""):
        kind = _kind_of(leaf)
        with chain.layer(f"{name or 'module'}, {type(leaf).__name__}"):
            if kind is None or kind not in _TAKE:
                chain.refuse(_unsupported(kind))
            if getattr(leaf, "_forward_hooks", None) or getattr(leaf, "_forward_pre_hooks", None):
                chain.refuse("has forward hooks, which may change what it computes; remove them")
            _TAKE[kind](chain, leaf)
    return chain.build()


def _kind_of(module: Any) -> str | None:
    """The class of torch whose `forward` this module runs, None if it has one of its own."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.modules."):
            own = getattr(type(module), "forward", None) is not getattr(kind, "forward", None)
            return None if own else kind.__name__
    return None


def _leaves(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules of nested Sequentials in order, each with torch's name."""
    if _kind_of(module) != "Sequential" or module._forward_hooks or module._forward_pre_hooks:
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _leaves(child, f"{name}.{child_name}" if name else child_name)


def _unsupported(kind: str | None) -> str:
    if kind in ("Softmax", "LogSoftmax"):
        return f"is not supported at the end of a network; {SOFTMAX_REMEDY}"
    if kind == "Sequential":
        return "has forward hooks, which may change what it computes; remove them"
    text = f"is not supported; supported are Sequential of {', '.join(sorted(_TAKE))}"
    if kind is None:
        text += ". What a module of another class does stands in its code: give (state_dict, layers), see load_ann"
    return text


def _parameter(module: Any, name: str) -> Any:
    value = getattr(module, name)
    return None if value is None else as_array(name, value)


# -- one function per class ---------------------------------------------------------------------------------------


def _linear(chain: LayerChain, module: Any) -> None:
    chain.linear(_parameter(module, "weight"), _parameter(module, "bias"))


def _convolution(chain: LayerChain, module: Any) -> None:
    if tuple(module.dilation) != (1, 1):
        chain.refuse(f"dilation {module.dilation} is not supported, only 1")
    if module.padding_mode != "zeros":
        chain.refuse(f"padding_mode {module.padding_mode!r} is not supported, only 'zeros'")
    padding = module.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        if any(k % 2 == 0 for k in module.kernel_size):
            chain.refuse(
                f"padding 'same' of a kernel of {module.kernel_size[0]} x {module.kernel_size[1]} pads more on one "
                "side than on the other, which is not supported; take odd sizes"
            )
        padding = tuple(k // 2 for k in module.kernel_size)
    weight, bias = _parameter(module, "weight"), _parameter(module, "bias")
    chain.convolution(weight, bias, module.stride, padding, module.groups)


def _batch_norm(chain: LayerChain, module: Any) -> None:
    if module.running_mean is None or module.running_var is None:
        chain.refuse("has no running statistics (track_running_stats=False), so its output depends on the batch")
    scale, shift = _parameter(module, "weight"), _parameter(module, "bias")
    mean, variance = _parameter(module, "running_mean"), _parameter(module, "running_var")
    chain.batch_norm(scale, shift, mean, variance, module.eps)


def _avg_pool(chain: LayerChain, module: Any) -> None:
    if module.divisor_override is not None:
        chain.refuse("divisor_override is not supported")
    if not module.count_include_pad and module.padding not in (0, (0, 0)):
        chain.refuse("count_include_pad=False with padding is not supported; zeros of the padding count here")
    chain.pool("avg", module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode)


def _max_pool(chain: LayerChain, module: Any) -> None:
    if module.dilation not in (1, (1, 1)):
        chain.refuse(f"dilation {module.dilation} is not supported, only 1")
    if module.return_indices:
        chain.refuse("return_indices=True is not supported")
    chain.pool("max", module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode)


def _adaptive(kind: str) -> Callable[[LayerChain, Any], None]:
    def take(chain: LayerChain, module: Any) -> None:
        size = module.output_size
        chain.adaptive_pool(kind, tuple(size) if isinstance(size, (tuple, list)) else (size, size))

    return take


def _flatten(chain: LayerChain, module: Any) -> None:
    last = len(chain.shape)
    if module.start_dim != 1 or module.end_dim not in (-1, last):
        chain.refuse(f"only Flatten(1, -1) is supported, got Flatten({module.start_dim}, {module.end_dim})")
    chain.flatten()


def _nothing(chain: LayerChain, module: Any) -> None:
    """What does nothing after training."""


_TAKE: dict[str, Callable[[LayerChain, Any], None]] = {
    "Linear": _linear,
    "Conv2d": _convolution,
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "ReLU": lambda chain, module: chain.relu(),
    "AvgPool2d": _avg_pool,
    "MaxPool2d": _max_pool,
    "AdaptiveAvgPool2d": _adaptive("avg"),
    "AdaptiveMaxPool2d": _adaptive("max"),
    "Flatten": _flatten,
    "Dropout": _nothing,
    "Dropout2d": _nothing,
    "Identity": _nothing,
}
