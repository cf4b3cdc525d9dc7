"""From a configuration to what every kind of experiment has: generated data, optimiser, schedule, seeds, threads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from eventsnn.datasets import (
    Dataset,
    load_bars,
    load_delayed_match,
    load_mnist,
    load_single_in_single_out,
    load_xor,
    load_yin_yang,
)
from eventsnn.experiments.schema import Config
from eventsnn.experiments.schema_dataset import GeneratedConfig, Mnist
from eventsnn.experiments.schema_training import (
    BumpingConfig,
    CrossEntropyConfig,
    HingeConfig,
    MSEConfig,
    NoSilentConfig,
    ShiftInvariantMSEConfig,
)

__all__ = [
    "available_cores",
    "build_first_spike_loss",
    "build_image_shift",
    "build_optimizer",
    "build_schedule",
    "build_silent",
    "build_spike_dataset",
    "generate_dataset",
    "n_threads",
    "network_seed",
    "training_seed",
]


def generate_dataset(dataset: GeneratedConfig, tau_syn: float) -> Dataset:
    """Generate a data set; its times are in units of tau_syn."""
    options = dataset.model_dump(exclude={"name"})
    match dataset.name:
        case "yin_yang":
            return load_yin_yang(tau_syn=tau_syn, **options)
        case "xor":
            return load_xor(tau_syn=tau_syn, **options)
        case "bars":
            return load_bars(tau_syn=tau_syn, **options)
        case "delayed_match":
            return load_delayed_match(tau_syn=tau_syn, **options)
        case "single_in_single_out":
            return load_single_in_single_out(tau_syn=tau_syn, **options)


def build_spike_dataset(dataset: GeneratedConfig | Mnist, tau_syn: float) -> Dataset:
    """Load or generate a data set of spikes; its times are in units of tau_syn."""
    if not isinstance(dataset, Mnist):
        return generate_dataset(dataset, tau_syn)
    options = dataset.model_dump(exclude={"name"})
    return load_mnist(dataset.side, tau_syn=tau_syn, **options)


def build_image_shift(config: Config) -> Any:
    """How training images are moved; None where they are not."""
    from eventsnn.training.input_noise import ImageShift

    if config.training.image_shift == 0:
        return None
    return ImageShift((config.dataset.side, config.dataset.side), config.training.image_shift)


def build_first_spike_loss(loss: CrossEntropyConfig | MSEConfig | ShiftInvariantMSEConfig) -> Any:
    """A loss on first spike times."""
    from eventsnn.training.losses import FirstSpikeCrossEntropy, FirstSpikeMSE, ShiftInvariantMSE

    kinds = {
        "cross_entropy": FirstSpikeCrossEntropy,
        "mse": FirstSpikeMSE,
        "shift_invariant_mse": ShiftInvariantMSE,
    }
    return kinds[loss.name](**loss.model_dump(exclude={"name"}))


def build_silent(silent: NoSilentConfig | HingeConfig | BumpingConfig, **options: Any) -> Any:
    """What wakes silent neurons, with some options replaced; None for nothing."""
    from eventsnn.training.regularizers import SilentHinge, WeightBumping

    if silent.name == "none":
        return None
    kind = SilentHinge if silent.name == "hinge" else WeightBumping
    return kind(**silent.model_dump(exclude={"name"}) | options)


def build_optimizer(config: Config) -> Any:
    """The optimiser, with its first learning rate."""
    from eventsnn.training.optimizers import SGD, Adam

    optimizer = config.training.optimizer
    kinds = {"sgd": SGD, "adam": Adam}
    return kinds[optimizer.name](config.training.learning_rate, **optimizer.model_dump(exclude={"name"}))


def build_schedule(config: Config) -> Any:
    """The schedule of the learning rate."""
    from eventsnn.training.schedules import Constant, CosineDecay, ExponentialDecay, MultiStepDecay, StepDecay

    schedule = config.training.schedule
    match schedule.name:
        case "constant":
            return Constant()
        case "step":
            return StepDecay(step=schedule.step, gamma=schedule.gamma)
        case "multi_step":
            return MultiStepDecay(milestones=schedule.milestones, gamma=schedule.gamma)
        case "exponential":
            return ExponentialDecay(gamma=schedule.gamma)
        case "cosine":
            return CosineDecay(config.training.epochs, minimum=schedule.minimum, warmup=schedule.warmup)


def n_threads(config: Config) -> int:
    """Threads to use; the configuration's null means all cores that this process may use."""
    if config.training.threads is not None:
        return config.training.threads
    return available_cores()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def network_seed(config: Config) -> np.random.SeedSequence:
    """Of the initial weights; a stream that nothing else uses."""
    return np.random.SeedSequence(config.training.seed).spawn(2)[0]


def training_seed(config: Config) -> int:
    """Of the order of samples and the noise; independent of the initial weights."""
    second = np.random.SeedSequence(config.training.seed).spawn(2)[1]
    return int(second.generate_state(1, np.uint64)[0] >> 1)
