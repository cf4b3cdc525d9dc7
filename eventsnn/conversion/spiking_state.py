"""A `SpikingNetwork` as a nested state of arrays and numbers, as model files hold it, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from eventsnn.clocked_neurons import IF, Leaky
from eventsnn.conversion.ann import ANN
from eventsnn.conversion.ann_state import layers_of_state, state_of_layers
from eventsnn.conversion.blocks import blocks_of
from eventsnn.conversion.plan import connection_parts
from eventsnn.conversion.report import ConversionReport, LayerReport
from eventsnn.errors import DataError, ValidationError
from eventsnn.network import Sequential

__all__ = ["parts_of_state", "state_of"]

_NEURONS: dict[str, type[IF] | type[Leaky]] = {"IF": IF, "Leaky": Leaky}


def state_of(ann: ANN, network: Sequential, report: ConversionReport) -> dict[str, Any]:
    """The state of the three parts of a `SpikingNetwork`."""
    return {
        "ann": state_of_layers(ann.layers, ann.input_shape, None),
        "settings": report.settings,
        "report": [{field.name: getattr(layer, field.name) for field in fields(layer)} for layer in report],
        "network": [
            {
                "weight": np.asarray(layer.connection.weight),
                "kind": type(layer.neuron).__name__,
                "neuron": {field.name: getattr(layer.neuron, field.name) for field in fields(layer.neuron)},
            }
            for layer in network.layers
        ],
    }


def parts_of_state(path: str, state: dict[str, Any]) -> tuple[ANN, Sequential, ConversionReport]:
    """The three parts again; `path` is what errors call the file.

    Raises
    ------
    DataError
        They do not fit together.
    """
    try:
        ann = ANN(*layers_of_state(path, state["ann"]))
        blocks = blocks_of(ann)
        parts: list[Any] = []
        for block, entry in zip(blocks, state["network"], strict=True):
            if entry["weight"].shape != block.layer.weight.shape:
                raise DataError(f"{path}: damaged, the weights of {block.name!r} have shape {entry['weight'].shape}")
            neuron = _NEURONS[entry["kind"]](**entry["neuron"])
            parts += [*connection_parts(block, entry["weight"]), neuron]
        network = Sequential(parts, [block.name for block in blocks])
        report = ConversionReport(tuple(LayerReport(**entry) for entry in state["report"]), state["settings"])
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise DataError(f"{path}: damaged, its parts do not fit together ({error}); save the network again") from error
    return ann, network, report
