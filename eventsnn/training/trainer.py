"""`Trainer`: batches, epochs, progress and state; the arithmetic is in the kernels."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count
from eventsnn.clock import Clock
from eventsnn.currents import Currents
from eventsnn.errors import SimulationError, ValidationError
from eventsnn.gradients.chain import VoltageLoss
from eventsnn.gradients.first_spike import BlockOutcome
from eventsnn.gradients.spike_count_surrogate import SpikeCountSurrogate
from eventsnn.graph import Network
from eventsnn.kernels.constants import InputEvents
from eventsnn.network import Sequential
from eventsnn.simulation.parallel import BlockPool, require_threads, sample_blocks
from eventsnn.spikes import Spikes
from eventsnn.training.clocked_model import clocked_model_of
from eventsnn.training.hardware import Hardware
from eventsnn.training.input_noise import ImageShift, InputNoise
from eventsnn.training.learned_delays import LearnedDelay
from eventsnn.training.losses import FirstSpikeLoss
from eventsnn.training.metrics import EpochMetrics, Metrics, Predictions
from eventsnn.training.model_choice import max_norms, model_of, require_options
from eventsnn.training.models import Model
from eventsnn.training.optimizers import Optimizer, OptimizerState
from eventsnn.training.progress import epoch_bar
from eventsnn.training.regularizers import SilentHinge, WeightBumping
from eventsnn.training.schedules import Constant, Schedule
from eventsnn.training.training_state import require_fits

__all__ = ["Trainer"]


class Trainer:
    """Train a network: chains of first-spike layers, of layers without a limit on spikes, and any `Network`.

    Exact gradients: in closed form where every neuron fires at most once, by EventProp otherwise.

    Parameters
    ----------
    network : Sequential, or Network with one input; the trainer works on a copy (`Trainer.network`), a Sequential in
        the dtype of its weights, a Network in float64
    loss : a loss on the first spike times of the output, or on its potentials if it is a readout (`LI`); of a Network
        also on its spike counts
    optimizer : `SGD` or `Adam`
    seed : int or numpy SeedSequence; order of the samples and noise, nothing else
    schedule : factor on the learning rate, follows the batches
    silent : `SilentHinge`, `WeightBumping` or None; default: SilentHinge(), with a clock None
    clock : a time grid with a surrogate gradient, for a network that `simulate_clocked` takes
    batch_size : samples per update
    max_dw_norm : bound on the norm of each sample's weight gradient, of every layer or by population; None for none
    min_slope : floor for dv/dt at a spike, in units of (v_threshold - v_inf)/tau_mem, in the factor 1/(dv/dt) of the
        gradient; bounds the gradient of grazing spikes. 0 leaves the exact gradient.
    time_noise : standard deviation of Gaussian noise on the input times, reflected at 0, in the unit of the times; what
        it moves beyond the last step of a clock comes in the last step
    input_dropout : probability that an input spike is left out in training
    image_shift : `ImageShift`: move training images by a few pixels, at random; None for no moves
    t_max : end of every simulation, in the unit of the times; losses on potentials look at them until then
    output : population of a Network that the loss looks at; default: the last one
    learn : what is learned, and its relative learning rate: ``{"weight": 1.0, "delay": 0.3, "tau_mem": 0.1}``, by kind
        or by name as in `parameter_names`; default: weights. Of a first-spike chain weight and delay, of a Network also
        tau_mem and tau_syn. A delay is learned in units of the synaptic time constant that it leads to; `LearnedDelay`
        in place of the number says how it stays positive and who shares it. The rate of a time constant is relative.
        With a clock, of any network: weight, bias, v_init, beta, alpha, tau_mem, tau_syn, v_threshold; default:
        weights, and biases given per neuron.
    regularizers : `DelayL2`; of a Network also `MarginPenalty`, and `SpikeCountUpperBound` and `SpikeCountLowerBound`
        on every hidden population; their values count as loss
    surrogate : of a Network: what stands in for the derivative of spike counts; default ``SpikeCountSurrogate()``
    hardware : of a first-spike chain: `Hardware`, noise and limits of an analog chip; None for none
    n_threads : threads over blocks of samples; does not change a single bit of the result

    Examples
    --------
    See the README; ``eventsnn train yin_yang`` is this class behind a configuration file.
    """

    def __init__(
        self,
        network: Sequential | Network,
        loss: FirstSpikeLoss | VoltageLoss,
        optimizer: Optimizer,
        *,
        seed: int | np.random.SeedSequence,
        schedule: Schedule | None = None,
        silent: SilentHinge | WeightBumping | Literal["default"] | None = "default",
        clock: Clock | None = None,
        batch_size: int = 128,
        max_dw_norm: float | Mapping[str, float] | None = None,
        min_slope: float = 0.0,
        time_noise: float = 0.0,
        input_dropout: float = 0.0,
        image_shift: ImageShift | None = None,
        t_max: float = np.inf,
        output: str | None = None,
        learn: Mapping[str, float | LearnedDelay] | None = None,
        regularizers: Sequence[Any] = (),
        surrogate: SpikeCountSurrogate | None = None,
        hardware: Hardware | None = None,
        n_threads: int = 1,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValidationError(f"Trainer.batch_size: must be an integer >= 1, got {batch_size!r}")
        if not (math.isfinite(min_slope) and min_slope >= 0):
            raise ValidationError(f"Trainer.min_slope: must be >= 0, got {min_slope}")
        self._input_noise = InputNoise(time_noise, input_dropout, seed, image_shift)
        if not t_max > 0:
            raise ValidationError(f"Trainer.t_max: must be > 0, got {t_max}")
        if silent == "default":
            silent = SilentHinge() if clock is None else None
        if clock is not None:
            given = {
                "silent": silent, "surrogate": surrogate, "max_dw_norm": max_dw_norm, "min_slope": min_slope or None,
                "hardware": hardware,
                "t_max": None if t_max == np.inf else t_max,
            }  # fmt: skip
            self._model: Model = clocked_model_of(network, loss, clock, output, learn, regularizers, given)
        else:
            self._model = model_of(
                network, loss, float(t_max), output=output, learn=learn, regularizers=regularizers, surrogate=surrogate,
                hardware=hardware, seed=seed, batch_size=batch_size,
            )  # fmt: skip
            require_options(self._model, max_dw_norm, silent)
        self._max_norms = max_norms(self._model, max_dw_norm)
        self.loss, self.clock, self.hardware = loss, clock, hardware
        self.schedule = schedule or Constant()
        self.silent = silent
        self.batch_size = batch_size
        self.max_dw_norm = max_dw_norm
        self.min_slope = min_slope
        self.time_noise = time_noise
        self.input_dropout, self.image_shift = input_dropout, image_shift
        self.t_max = float(t_max)
        self.n_threads = require_threads(n_threads)
        self.history: list[EpochMetrics] = []
        self._optimizer = OptimizerState(optimizer, self._model.arrays, self._model.rates)
        self._rng = np.random.Generator(np.random.PCG64(seed))  # the order of the samples
        self._silent_state = silent.start([*self._model.hidden_sizes, self._model.n_outputs]) if silent else {}
        self._allocate(frozenset())

    def _allocate(self, shared: frozenset[str]) -> None:
        """Gradients of the blocks that run side by side; those of `shared` names have one array for all."""
        n_blocks, arrays = self._model.n_buffers(len(sample_blocks(self.batch_size))), self._model.arrays
        self._shared = shared
        self._gradients = {
            name: np.zeros((1 if name in shared else n_blocks, w.size), w.dtype) for name, w in arrays.items()
        }
        own = {name: w.shape for name, w in arrays.items() if name not in shared}
        self._blocks = [
            self._model.block({name: self._gradients[name][k].reshape(shape) for name, shape in own.items()})
            for k in range(n_blocks)
        ]

    @property
    def network(self) -> Sequential | Network:
        """The network with the present parameters."""
        return self._model.network

    @property
    def hardware_network(self) -> Sequential | Network:
        """The network as `Hardware` has it, rounded weights and fixed pattern of thresholds; without: `network`."""
        return getattr(self._model, "hardware_network", self.network)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    # -- training ---------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Any,
        valid: Any | None,
        n_epochs: int,
        *,
        progress: bool = True,
        on_epoch: Callable[[Trainer, EpochMetrics], None] | None = None,
    ) -> list[EpochMetrics]:
        """Train until `n_epochs` epochs are finished in all, counting those before; returns the history.

        Parameters
        ----------
        train, valid : anything with `spikes` and `labels` (`datasets.Split`); valid may be None
        n_epochs : total number of epochs
        progress : show a bar with loss, accuracy and samples/s on standard error
        on_epoch : called as on_epoch(trainer, metrics) after each finished epoch

        Raises
        ------
        ValidationError
            Data that do not fit the network, or an empty training set.
        SimulationError
            Loss or weights are not finite any more.
        KeyboardInterrupt
            Ctrl-C in the middle of an epoch: the trainer is back at the end of the last finished one.
        """
        self._model.check(train.spikes, train.labels)
        if valid is not None and len(valid.labels):
            self._model.check(valid.spikes, valid.labels)
        else:
            valid = None
        self._input_noise.check(train.spikes)
        if self._model.shared(train.spikes) != self._shared:
            self._allocate(self._model.shared(train.spikes))
        with BlockPool(self.n_threads) as pool:
            while self.epoch < n_epochs:
                before = self.state_dict()
                try:
                    metrics = self._run_epoch(train, valid, n_epochs, pool, progress)
                    # Inside: an interrupt between the two would leave the weights an epoch ahead of the history.
                    self.history.append(metrics)
                except BaseException:
                    self.load_state_dict(before)
                    raise
                if on_epoch is not None:
                    on_epoch(self, metrics)
        return self.history

    def _run_epoch(self, train: Any, valid: Any, n_epochs: int, pool: BlockPool, progress: bool) -> EpochMetrics:
        started = time.perf_counter()
        source = self._model.source(train.spikes)
        labels = np.asarray(train.labels, dtype=np.int64)
        order = self._rng.permutation(labels.size)
        n_batches = -(-labels.size // self.batch_size)
        loss_sum, n_right, n_clipped, n_bumped = 0.0, 0, 0, 0
        silent_sum, n_raised, factor = 0, 0, 1.0
        with epoch_bar(self.epoch + 1, n_epochs, labels.size, enabled=progress) as bar:
            for k in range(n_batches):
                chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
                factor = self.schedule.factor(self.epoch + k / n_batches)
                outcomes, bumped = self._train_batch(source, labels, chosen, factor, pool)
                loss_sum += sum(float(o.losses.sum()) for o in outcomes)
                right = np.concatenate([o.predictions for o in outcomes]) == labels[chosen]
                n_right += int(right.sum())
                n_clipped += sum(o.n_clipped for o in outcomes)
                n_raised += sum(o.n_raised for o in outcomes)
                n_bumped += bumped
                silent_sum += sum(int(c.sum()) for o in outcomes for c in o.silent_counts[:-1])
                seen = min((k + 1) * self.batch_size, labels.size)
                bar.advance(chosen.size, loss_sum / seen, n_right / seen)
            self._require_finite(loss_sum)
            train_seconds = time.perf_counter() - started
            result = self._evaluate(valid, pool) if valid is not None else None
            bar.finish(result.accuracy if result else None)
        n_hidden = sum(self._model.hidden_sizes)
        return EpochMetrics(
            epoch=self.epoch + 1,
            train_loss=loss_sum / labels.size,
            train_accuracy=n_right / labels.size,
            valid_loss=result.loss if result else None,
            valid_accuracy=result.accuracy if result else None,
            seconds=time.perf_counter() - started,
            samples_per_second=labels.size / train_seconds,
            learning_rate=self._optimizer.optimizer.learning_rate * factor,
            n_clipped=n_clipped,
            n_bumped=n_bumped,
            silent_hidden=silent_sum / (labels.size * n_hidden) if n_hidden else 0.0,
            n_raised=n_raised,
        )

    def _train_batch(
        self, source: InputEvents, labels: NDArray[np.int64], chosen: NDArray[np.int64], factor: float, pool: BlockPool
    ) -> tuple[list[BlockOutcome], bool]:
        """One update; returns the outcomes of the blocks and whether weights were bumped."""
        blocks = sample_blocks(chosen.size)
        add_noise = self._input_noise.draw(source, chosen, blocks)
        hinge, output_strength = self._hinge()
        self._model.begin_batch(self._optimizer.step_count)

        def work(k: int) -> BlockOutcome:
            mine = chosen[slice(*blocks[k])]
            events = self._model.take(source, mine)
            add_noise(k, events)
            outcome: BlockOutcome = self._blocks[k % len(self._blocks)].run(
                events, labels[mine], self.loss, hidden_hinge=hinge, output_hinge=output_strength,
                max_norm=self._max_norms, min_slope=self.min_slope, **self._model.options_of_block(k, mine.size),
            )  # fmt: skip
            return outcome

        outcomes: list[BlockOutcome] = []
        for first in range(0, len(blocks), len(self._blocks)):
            outcomes += pool.map(work, range(len(blocks))[first : first + len(self._blocks)])
            self._model.finish(outcomes[first:], self._gradients, pool)
        counts = zip(*(o.silent_counts for o in outcomes), strict=True)
        fractions = [np.sum(layer, axis=0) / chosen.size for layer in counts]
        bumped, frozen = None, {}
        if isinstance(self.silent, WeightBumping):
            arrays = self._model.arrays
            bumped = self.silent.bump(
                self._silent_state, fractions, [arrays.get(f"{n}.weight") for n in self._model.layer_names]
            )
            for name in itertools.chain.from_iterable(self._model.by_layer[bumped:] if bumped is not None else ()):
                self._gradients[name][:] = 0.0
                frozen[name] = arrays[name].copy()
        elif isinstance(self.silent, SilentHinge):
            for layer, fraction in enumerate(fractions[:-1]):
                self.silent.observe(self._silent_state, layer, fraction)
        self._model.end_batch(self._gradients)
        self._optimizer.step(self._gradients, factor, 1.0 / chosen.size, pool)
        for name, kept in frozen.items():
            self._model.arrays[name][...] = kept
        self._model.refresh(self._blocks)
        return outcomes, bumped is not None

    def _hinge(self) -> tuple[list[tuple[NDArray[np.bool_], float]] | None, float]:
        if not isinstance(self.silent, SilentHinge):
            return None, 0.0
        n_hidden = len(self._model.hidden_sizes)
        hidden = [(self.silent.wanted(self._silent_state, k), self.silent.strength) for k in range(n_hidden)]
        return hidden, self.silent.output_strength

    def _require_finite(self, loss_sum: float) -> None:
        bad = [name for name, w in self._model.arrays.items() if not np.isfinite(w).all()]
        if bad or not math.isfinite(loss_sum):
            raise SimulationError(
                f"epoch {self.epoch + 1}: training diverged ({'weights of ' + ', '.join(bad) if bad else 'the loss'} "
                "not finite); lower training.learning_rate or set training.max_dw_norm"
            )

    # -- use --------------------------------------------------------------------------------------------------

    def predict(self, spikes: Spikes | Currents, *, noise_seed: int | None = 0) -> Predictions:
        """Class of every sample, and what the loss looks at: first spike times or values of the readout.

        noise_seed : of the noise of `Hardware`, in batches of `batch_size`; None: of all noise only the fixed pattern
        """
        self._model.check(spikes)
        options = self._noise_options(noise_seed)
        with BlockPool(self.n_threads) as pool:
            _, classes, outputs = self._model.evaluate(spikes, None, pool, **options)
        return Predictions(classes, outputs)

    def evaluate(self, split: Any, *, noise_seed: int | None = 0) -> Metrics:
        """Mean loss and accuracy on labelled spikes; noise_seed as in `predict`."""
        self._model.check(split.spikes, split.labels)
        options = self._noise_options(noise_seed)
        with BlockPool(self.n_threads) as pool:
            return self._evaluate(split, pool, **options)

    def _noise_options(self, noise_seed: int | None) -> dict[str, Any]:
        if self.hardware is not None:
            return {"noise_seed": None if noise_seed is None else count("Trainer: noise_seed", noise_seed)}
        if noise_seed != 0:
            raise ValidationError(f"Trainer: noise_seed={noise_seed} is for a Trainer with hardware=Hardware(...)")
        return {}

    def _evaluate(self, split: Any, pool: BlockPool, **options: Any) -> Metrics:
        labels = np.asarray(split.labels, dtype=np.int64)
        losses, predicted, _ = self._model.evaluate(split.spikes, labels, pool, **options)
        return Metrics(float(losses.mean()), float((predicted == labels).mean()), int((predicted < 0).sum()))

    # -- state ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on with the same bits: nested dict of arrays, numbers, strings and lists (copies)."""
        silent = {key: [a.copy() for a in v] if isinstance(v, list) else v for key, v in self._silent_state.items()}
        return {
            "weights": {name: w.copy() for name, w in self._model.arrays.items()},
            "optimizer": self._optimizer.state_dict(),
            "random": self._rng.bit_generator.state,
            "input_noise": self._input_noise.state_dict(),
            "silent": silent,
            "hardware": self._model.noise_state(),
            "history": [asdict(m) for m in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict` of the same configuration.

        Raises
        ------
        CheckpointError, ValidationError
            The state belongs to another network, optimiser or treatment of silent neurons.
        """
        require_fits(state, self.state_dict(), self.network)
        self._optimizer.load_state_dict(state["optimizer"])
        for name, weight in self._model.arrays.items():
            weight[...] = state["weights"][name]
        self._model.refresh(self._blocks)
        self._model.load_noise_state(state.get("hardware", {}))
        self._rng.bit_generator.state = state["random"]
        if "input_noise" in state:  # states of older versions had one stream for all
            self._input_noise.load_state_dict(state["input_noise"])
        given = state["silent"].items()
        self._silent_state = {key: [np.array(a) for a in v] if isinstance(v, list) else v for key, v in given}
        self.history = [EpochMetrics(**m) for m in state["history"]]
        for gradient in self._gradients.values():
            gradient[:] = 0.0  # an interrupted batch may have left something
