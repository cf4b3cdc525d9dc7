"""The dataset section of a configuration: one model per data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eventsnn.experiments.schema_base import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
    Strict,
    default,
)

__all__ = ["DatasetConfig", "GeneratedConfig", "MnistImages"]


class Latency(Strict):
    """Values are encoded as spike times between `t_early` and `t_late`."""

    t_early: NonNegativeFloat = default(0.15, "time of the earliest input spike, in units of tau_syn")
    t_late: PositiveFloat = default(2.0, "time of the latest input spike, in units of tau_syn")

    @model_validator(mode="after")
    def _early_before_late(self) -> Latency:
        if self.t_early >= self.t_late:
            raise ValueError(f"t_early ({self.t_early}) must be less than t_late ({self.t_late})")
        return self


class YinYang(Latency):
    """The Yin-Yang data set: x, y, 1 - x, 1 - y as four spike times, and a bias spike."""

    name: Literal["yin_yang"]
    bias_time: NonNegativeFloat | None = default(0.9, "time of the bias spike, in units of tau_syn; null for none")
    n_train: PositiveInt = default(5000, "training samples")
    n_valid: PositiveInt = default(1000, "validation samples")
    n_test: PositiveInt = default(1000, "test samples")
    seeds: tuple[Seed, Seed, Seed] = default(
        (42, 41, 40),
        "seeds of the training, validation and test samples; the default gives the published ones",
        strict=False,
    )


class Xor(Latency):
    """Two binary inputs and a bias spike."""

    name: Literal["xor"]
    complements: bool = default(False, "two more inputs, which fire early where the first two fire late")
    bias_time: NonNegativeFloat | None = default(0.15, "time of the bias spike, in units of tau_syn; null for none")
    jitter: NonNegativeFloat = default(0.0, "standard deviation of the noise on input times, in units of tau_syn")
    n_train: PositiveInt = default(400, "training samples")
    n_valid: PositiveInt = default(100, "validation samples")
    n_test: PositiveInt = default(100, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class Bars(Latency):
    """Horizontal, vertical and diagonal bars on 3 x 3 pixels."""

    name: Literal["bars"]
    bias_time: NonNegativeFloat | None = default(None, "time of the bias spike, in units of tau_syn; null for none")
    jitter: NonNegativeFloat = default(0.05, "standard deviation of the noise on input times, in units of tau_syn")
    n_train: PositiveInt = default(600, "training samples")
    n_valid: PositiveInt = default(150, "validation samples")
    n_test: PositiveInt = default(150, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class DelayedMatch(Strict):
    """Delayed match to sample: two symbols with a pause between them, and whether they are the same."""

    name: Literal["delayed_match"]
    n_symbols: int = default(4, "number of symbols", ge=2)
    n_channels: PositiveInt = default(5, "input channels of each symbol, which fire once each when it is shown")
    width: PositiveFloat = default(2.0, "time for which a symbol is shown, in units of tau_syn")
    pause: NonNegativeFloat = default(20.0, "time between the two symbols, in units of tau_syn")
    jitter: NonNegativeFloat = default(0.2, "standard deviation of the noise on input times, in units of tau_syn")
    n_train: PositiveInt = default(1000, "training samples")
    n_valid: PositiveInt = default(500, "validation samples")
    n_test: PositiveInt = default(1000, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class SingleInSingleOut(Strict):
    """One input spike and one class: what is learned is a spike time."""

    name: Literal["single_in_single_out"]
    time: NonNegativeFloat = default(1.0, "time of the input spike, in units of tau_syn")
    jitter: NonNegativeFloat = default(0.0, "standard deviation of the noise on it, in units of tau_syn")
    n_train: PositiveInt = default(1, "training samples")
    n_valid: PositiveInt = default(1, "validation samples")
    n_test: PositiveInt = default(1, "test samples")
    seed: Seed = default(0, "seed of the generated samples")


class MnistImages(Strict):
    """Which images of MNIST, full (28 x 28) or reduced to 16 x 16, go into which part."""

    name: Literal["mnist", "mnist_16x16"]
    split: Literal["published", "shuffled"] = default(
        "published", "published: 60,000 training and 10,000 test images; shuffled: all 70,000 shuffled, then divided"
    )
    split_seed: Seed = default(0, "seed of the shuffled split")
    test_fraction: float | None = default(
        None, "share of the images that the shuffled split puts into the test set; null: 0.15", gt=0, lt=1
    )
    n_train: PositiveInt | None = default(None, "use the first n_train training images; null: all")
    n_valid: int = default(5000, "training images held back for validation", ge=0, le=59_999)
    n_test: PositiveInt | None = default(None, "use the first n_test test images; null: all")
    path: str | None = default(None, "file with the images; null: the shipped one")

    @property
    def side(self) -> int:
        """Rows, and columns, of an image."""
        return 28 if self.name == "mnist" else 16

    @model_validator(mode="after")
    def _fraction_of_shuffled(self) -> MnistImages:
        if self.test_fraction is not None and self.split != "shuffled":
            raise ValueError(f"test_fraction ({self.test_fraction}) needs split: shuffled")
        return self


class Mnist(MnistImages, Latency):
    """MNIST as spikes: bright pixels fire early, dark pixels stay silent."""

    threshold: Fraction | None = default(0.0, "pixels of a value (0 to 1) up to this stay silent; null: all spike")


GeneratedConfig = YinYang | Xor | Bars | DelayedMatch | SingleInSingleOut
DatasetConfig = Annotated[GeneratedConfig | Mnist, Field(discriminator="name")]
