"""A network from named arrays and a list of its layers: a torch state_dict, a plain npz."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.import_chain import LayerChain
from eventsnn.conversion.model_file import has_header, read_arrays
from eventsnn.errors import ValidationError

__all__ = ["ann_from_arrays", "ann_from_npz", "as_array"]

# kind -> options; those with arrays come as (kind, name) or (kind, name, options), the others without a name
_WITH_ARRAYS: dict[str, set[str]] = {
    "linear": set(),
    "conv2d": {"stride", "padding", "groups"},
    "batch_norm": {"epsilon"},
}
_WITHOUT: dict[str, set[str]] = {
    "relu": set(),
    "dropout": set(),
    "flatten": set(),
    "avg_pool": {"size", "stride", "padding"},
    "max_pool": {"size", "stride", "padding"},
    "global_avg_pool": set(),
}
_LAYOUTS = ("channel_first", "channel_last")


def ann_from_npz(
    path: Path | str, layers: Sequence[Any] | None, input_shape: Iterable[int] | None, *, layout: str
) -> ANN:
    """A network from an npz file, one that `ANN.save` wrote or plain arrays; see `load_ann`."""
    if has_header(path):
        if layers is not None or input_shape is not None:
            raise ValidationError(f"load_ann: {path} describes its layers itself; give no layers and no input_shape")
        return ANN.load(path)
    arrays = read_arrays(path)
    if layers is None or input_shape is None:
        names = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:8])
        raise ValidationError(
            f"load_ann: {path} holds plain arrays ({names}{', ...' if len(arrays) > 8 else ''}); say what they are: "
            "layers=[...], input_shape=..."
        )
    return ann_from_arrays("load_ann", arrays, layers, input_shape, layout=layout)


def ann_from_arrays(
    owner: str,
    arrays: Mapping[str, Any],
    layers: Sequence[Any],
    input_shape: Iterable[int],
    *,
    layout: str = "channel_first",
) -> ANN:
    """The network of `layers`, see `load_ann`; values of `arrays` may be torch tensors. `owner` is named in errors."""
    if layout not in _LAYOUTS:
        raise ValidationError(f"{owner}.layout: must be one of {', '.join(_LAYOUTS)}, got {layout!r}")
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise ValidationError(f"{owner}.layers: must be a list of layers, got {type(layers).__name__}")
    chain = LayerChain(owner, input_shape, channel_first=layout == "channel_first")
    unused = {name for name in arrays if not name.endswith("num_batches_tracked")}
    for entry in layers:
        with chain.layer(_text(entry)):
            kind, prefix, options = _entry(chain, entry)

            def get(part: str, *, optional: bool = False, prefix: str = prefix) -> NDArray[Any] | None:
                name = f"{prefix}.{part}" if prefix else part
                if name not in arrays:
                    if optional:
                        return None
                    chain.refuse(f"there is no array {name!r}, only {', '.join(map(repr, sorted(arrays)))}")
                unused.discard(name)
                return as_array(name, arrays[name])

            _add(chain, kind, get, options)
    if unused:
        raise ValidationError(
            f"{owner}: the arrays {', '.join(map(repr, sorted(unused)))} belong to none of the layers; complete the "
            "list of layers, or leave these arrays away"
        )
    return chain.build()


def as_array(name: str, values: Any) -> NDArray[Any]:
    """A torch tensor or an array as an array; bfloat16, which NumPy has not, as float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValidationError(f"{name}: must hold real numbers, got {type(values).__name__} of dtype {array.dtype}")
    return array


def _entry(chain: LayerChain, entry: Any) -> tuple[str, str, dict[str, Any]]:
    """(kind, name of its arrays or "", options) of one entry of `layers`."""
    parts = [entry] if isinstance(entry, str) else list(entry) if isinstance(entry, (tuple, list)) else []
    options: Any = parts.pop() if len(parts) > 1 and isinstance(parts[-1], Mapping) else {}
    kind = parts[0] if parts else None
    known = {**_WITH_ARRAYS, **_WITHOUT}
    if not isinstance(kind, str) or kind not in known:
        chain.refuse(f"is no supported layer; those are {', '.join(sorted(known))}, see load_ann")
    if kind in _WITH_ARRAYS:
        if len(parts) != 2 or not isinstance(parts[1], str):
            chain.refuse(f"must be ({kind!r}, name of its arrays) or ({kind!r}, name, options)")
    elif len(parts) != 1:
        chain.refuse(f"must be {kind!r} or ({kind!r}, options)")
    wrong = sorted(set(options) - known[kind], key=str)
    if wrong:
        chain.refuse(f"has the unknown option {wrong[0]!r}; known are {', '.join(sorted(known[kind])) or 'none'}")
    return kind, parts[1] if len(parts) == 2 else "", dict(options)


def _add(chain: LayerChain, kind: str, get: Any, options: dict[str, Any]) -> None:
    if kind == "linear":
        chain.linear(get("weight"), get("bias", optional=True))
    elif kind == "conv2d":
        stride, padding = options.get("stride", 1), options.get("padding", 0)
        chain.convolution(get("weight"), get("bias", optional=True), stride, padding, options.get("groups", 1))
    elif kind == "batch_norm":
        scale, shift = get("weight", optional=True), get("bias", optional=True)
        chain.batch_norm(scale, shift, get("running_mean"), get("running_var"), options.get("epsilon", 1e-5))
    elif kind in ("avg_pool", "max_pool"):
        if "size" not in options:
            chain.refuse(f'needs a size: ({kind!r}, {{"size": 2}})')
        chain.pool(kind[:3], options["size"], options.get("stride"), options.get("padding", 0))
    elif kind == "global_avg_pool":
        chain.global_pool("avg")
    elif kind == "relu":
        chain.relu()
    elif kind == "flatten":
        chain.flatten()


def _text(entry: Any) -> str:
    return entry if isinstance(entry, str) else repr(entry)
