"""The layers of a fastAndDeep file, sorted into links: what lies between two populations of neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from eventsnn.errors import ConfigError
from eventsnn.experiments.schema_fast_and_deep import (
    FastAndDeepFile,
    ListedLayout,
    NeuronParams,
    TheirBiases,
    TheirBroadcast,
    TheirDelay,
    TheirLayer,
    TheirMultiplex,
    TheirNeurons,
)

__all__ = ["Link", "link_layers"]


@dataclass(frozen=True)
class Link:
    """A population of neurons, and what the spikes before it pass."""

    layer: TheirNeurons
    neuron: NeuronParams
    repeat: int
    bias_times: list[float]
    delay: TheirDelay | None
    delay_path: str

    @property
    def tau_mem(self) -> float:
        """Membrane time constant."""
        return self.neuron.tau_mem or self.neuron.tau_syn

    @property
    def weight_factor(self) -> float:
        """Weights here over weights there: tau_mem / C, C = tau_mem g_leak."""
        return 1.0 / self.neuron.g_leak


@dataclass
class _Before:
    """What has been met since the last neurons."""

    repeat: int = 1
    bias_times: list[float] = field(default_factory=list)
    link: TheirDelay | TheirBroadcast | None = None
    path: str = ""


def link_layers(file: FastAndDeepFile, n_classes: int) -> list[Link]:
    """The links of a file.

    Raises
    ------
    ConfigError
        A layer that is missing or in the wrong place, or sizes and neurons that do not fit.
    """
    layout = file.network_layout
    layers: Sequence[TheirLayer]
    if isinstance(layout, ListedLayout):
        layers, paths = _listed(layout, file.training_params.max_num_missing_spikes or (), n_classes)
    else:
        layers = layout.layers
        paths = [f"network_layout.layers[{k}]" for k in range(len(layers))]
    found: list[Link] = []
    before = _Before(repeat=file.dataset_params.multiply_input_layer)
    for layer, path in zip(layers, paths, strict=True):
        if isinstance(layer, TheirNeurons):
            found.append(_finished(layer, path, before, file.default_neuron_params))
            before = _Before()
        else:
            _pass(layer, path, before)
    if before != _Before() or not found:
        raise ConfigError(f"{paths[-1]}: the last layer must be a NeuronLayer, got {layers[-1].name}")
    if found[-1].layer.size != n_classes:
        size = "network_layout.layer_sizes" if isinstance(layout, ListedLayout) else f"{paths[-1]}.size"
        raise ConfigError(
            f"{size}: the last layer has one neuron for each of the {n_classes} classes of "
            f"{file.dataset_params.name}, got {found[-1].layer.size}"
        )
    return found


def _pass(layer: TheirDelay | TheirBroadcast | TheirBiases | TheirMultiplex, path: str, before: _Before) -> None:
    if isinstance(layer, (TheirDelay, TheirBroadcast)):
        if before.link is not None:
            raise ConfigError(
                f"{path}: {layer.name} follows {before.link.name}, but there must be neurons between them"
            )
        before.link, before.path = layer, path
        return
    if isinstance(before.link, TheirDelay):
        what = "the bias spikes are" if isinstance(layer, TheirBiases) else "every repeated channel is"
        raise ConfigError(
            f"{path}: {layer.name} behind {before.link.name} cannot be had here; put it before, where {what} delayed, "
            "too"
        )
    if isinstance(layer, TheirMultiplex):
        before.repeat *= layer.factor
        # Repeated bias spikes are as many bias spikes behind the repeated channels.
        before.bias_times = [time for time in before.bias_times for _ in range(layer.factor)]
    else:
        before.bias_times += layer.times


def _finished(layer: TheirNeurons, path: str, before: _Before, common: NeuronParams) -> Link:
    if before.link is None:
        raise ConfigError(
            f"{path}: {layer.name} needs a layer before it that says how spikes get there: BroadcastLayer, "
            "DelayAxonal, DelayDendritic or DelaySynaptic"
        )
    delay = before.link if isinstance(before.link, TheirDelay) else None
    if delay is not None and layer.biases:
        raise ConfigError(
            f"{path}.biases: bias spikes without the delays of {delay.name} cannot be had here; put a Biases layer "
            "before it, where they are delayed, too"
        )
    if not layer.trainable and layer.max_num_missing_spikes != 1:
        raise ConfigError(
            f"{path}.max_num_missing_spikes: must be 1 where trainable is false, or bumping would change the weights; "
            f"got {layer.max_num_missing_spikes:g}"
        )
    own = layer.neuron_params.model_dump(exclude_none=True)
    neuron = common.model_copy(update=own)
    ratio = neuron.tau_syn / (neuron.tau_mem or neuron.tau_syn)
    if not math.isclose(neuron.g_leak, ratio):
        place = f"{path}.neuron_params" if {"g_leak", "tau_syn", "tau_mem"} & set(own) else "default_neuron_params"
        raise ConfigError(f"{place}.g_leak: must be tau_syn / tau_mem = {ratio:g}, got {neuron.g_leak:g}")
    if neuron.leak >= neuron.threshold:
        place = f"{path}.neuron_params" if {"leak", "threshold"} & set(own) else "default_neuron_params"
        raise ConfigError(f"{place}.threshold: must be above leak ({neuron.leak:g}), got {neuron.threshold:g}")
    return Link(layer, neuron, before.repeat, [*before.bias_times, *layer.biases], delay, before.path)


def _listed(
    layout: ListedLayout, missing: tuple[float, ...], n_classes: int
) -> tuple[list[TheirBroadcast | TheirNeurons], list[str]]:
    """The layers of lists with one entry per layer, as the newer files have them."""
    layers: list[TheirBroadcast | TheirNeurons] = []
    rows = zip(
        layout.layer_sizes or (*layout.n_hidden, n_classes),
        layout.weight_means,
        layout.weight_stdevs,
        missing,
        layout.times_of_layers(),
        strict=True,
    )
    for size, mean, std, limit, times in rows:
        layers += [
            TheirBroadcast(name="BroadcastLayer"),
            TheirNeurons(
                name="NeuronLayer", size=size, weights_mean=mean, weights_std=std, max_num_missing_spikes=limit,
                biases=times,
            ),
        ]  # fmt: skip
    return layers, ["network_layout"] * len(layers)
