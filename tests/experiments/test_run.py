"""Run folders: trained, interrupted, killed, continued with the same bits, and every way in which one can be bad."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eventsnn import Adam, FirstSpikeCrossEntropy, Hardware, ThresholdNoise
from eventsnn.errors import CheckpointError, ConfigError, DataError, EventSNNError, ValidationError
from eventsnn.experiments import run as run_module
from eventsnn.experiments.config import load_config
from eventsnn.experiments.run import (
    TrainingInterrupted,
    continue_run,
    evaluate,
    inference,
    repeat_inference,
    train,
)
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.experiments.session import recorded_until
from eventsnn.training.checkpoint import list_savepoints, read_savepoint, write_savepoint
from eventsnn.training.monitor import ParameterMonitor
from eventsnn.training.trainer import Trainer
from tests.experiments.helpers import assert_same_bits, metrics_of, small_config, without_timings

QUIET = {"progress": False, "plots": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four epochs; not to be changed."""
    return train(small_config(), tmp_path_factory.mktemp("finished"), **QUIET).path


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it to play with."""
    return shutil.copytree(finished, tmp_path / finished.name)


# -- train --------------------------------------------------------------------------------------------------------


def test_train_fills_the_run_folder(finished):
    config = small_config()
    assert finished.name.startswith("xor_20")
    assert sorted(path.name for path in finished.iterdir()) == ["config.yaml", "metrics.json", "plots", "savepoints"]
    assert load_config(finished / "config.yaml") == config
    assert list_savepoints(finished / "savepoints") == [0, 1, 2, 3, 4]
    metrics = metrics_of(finished)
    assert [entry["epoch"] for entry in metrics["epochs"]] == [1, 2, 3, 4]
    wanted = {"epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds"}
    assert wanted <= metrics["epochs"][0].keys()
    assert set(metrics["versions"]) == {"eventsnn", "python", "numpy", "numba"}
    assert 0 <= metrics["test_accuracy"] <= 1


def test_train_overrides_the_configuration(tmp_path):
    result = train(small_config(), tmp_path, epochs=1, seed=9, threads=2, **QUIET)
    config = load_config(result.path / "config.yaml")
    assert (config.training.epochs, config.training.seed, config.training.threads) == (1, 9, 2)
    assert result.epoch == 1
    assert len(result.history) == 1


def test_train_saves_every_nth_epoch_and_the_last(tmp_path):
    result = train(small_config(training__epochs=5, training__savepoint_every=2), tmp_path, **QUIET)
    assert list_savepoints(result.path / "savepoints") == [0, 2, 4, 5]


def test_train_depends_on_the_seed(finished, tmp_path):
    other = train(small_config(training__seed=1), tmp_path, **QUIET)
    assert without_timings(other.history) != without_timings(metrics_of(finished)["epochs"])


def test_train_gives_the_same_bits_with_two_threads(finished, tmp_path):
    assert_same_bits(finished, train(small_config(), tmp_path, threads=2, **QUIET).path)


def test_train_without_validation_set(tmp_path):
    config = load_config("mnist", {"dataset.n_train": 64, "dataset.n_valid": 0, "dataset.n_test": 32})
    result = train(config, tmp_path, epochs=1, **QUIET)
    assert result.history[0]["valid_loss"] is None


STEP = {"name": "step", "step": 1, "gamma": 0.5}
MULTI_STEP = {"name": "multi_step", "milestones": [1, 2], "gamma": 0.5}


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"name": "sgd", "momentum": 0.9}, "loss": {"name": "mse", "t_correct": 1, "t_wrong": 2}},
        {"schedule": STEP, "loss": {"name": "shift_invariant_mse", "delta_t": 1.0}},
        {"schedule": MULTI_STEP, "silent": {"name": "none"}},
        {"schedule": {"name": "exponential", "gamma": 0.9}, "silent": {"name": "bumping"}},
        {"schedule": {"name": "cosine", "warmup": 0.5}, "max_dw_norm": 0.1, "time_noise": 0.1},
        {"optimizer": {"name": "adam", "amsgrad": True}, "dtype": "float32", "min_slope": 0.01},
    ],
)
def test_continue_run_gives_the_same_bits_with_every_option(tmp_path, options):
    check_continued(
        small_config(training__epochs=3, **{f"training.{key}": value for key, value in options.items()}), tmp_path
    )


@pytest.mark.parametrize(
    ("hidden", "inits"),
    [([], [{"mean": 1, "std": 1}]), ([6, 5], [{"mean": 9, "std": 2, "scale": "fan_in"}] * 3)],
)
def test_continue_run_gives_the_same_bits_with_any_number_of_layers(tmp_path, hidden, inits):
    check_continued(small_config(training__epochs=3, network__hidden=hidden, network__weight_init=inits), tmp_path)


def check_continued(config, folder):
    whole = train(config, folder, **QUIET).path
    again = shutil.copytree(whole, folder / "again")
    continue_run(again, 1, threads=2, **QUIET)
    assert_same_bits(whole, again)


def test_train_in_a_folder_of_a_given_name_takes_what_a_kill_left_there(finished, tmp_path):
    (tmp_path / "mine" / "savepoints").mkdir(parents=True)
    result = train(small_config(), tmp_path, folder_name="mine", **QUIET)
    assert result.path == tmp_path / "mine"
    assert_same_bits(finished, result.path)
    with pytest.raises(CheckpointError, match="mine: there is a run already; `eventsnn continue` goes on with it"):
        train(small_config(), tmp_path, folder_name="mine", **QUIET)


def test_on_epoch_can_end_the_training(finished, tmp_path):
    def stop(epoch):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted) as caught:
        train(small_config(), tmp_path, on_epoch=stop, **QUIET)
    assert caught.value.epoch == 2
    with pytest.raises(TrainingInterrupted):
        continue_run(caught.value.path, on_epoch=lambda epoch: stop(epoch - 1), **QUIET)
    continue_run(caught.value.path, **QUIET)
    assert_same_bits(finished, caught.value.path)


def test_train_draws_pictures(tmp_path, capsys):
    result = train(small_config(), tmp_path)
    pictures = {path.name for path in (result.path / "plots").iterdir()}
    assert {"curve.png", "confusion_matrix.png", "parameters.png", "summary.png"} <= pictures
    printed = capsys.readouterr().out
    for part in ("data set: xor, 40 training", "generated", "network: Sequential(", f"run folder: {result.path}"):
        assert part in printed
    assert "test accuracy" in printed


def test_train_goes_on_when_pictures_cannot_be_drawn(tmp_path, capsys, monkeypatch):
    from eventsnn import plotting
    from eventsnn.experiments import session as module

    def broken(*arguments, **options):
        raise EventSNNError("no ink")

    monkeypatch.setattr(plotting, "plot_history", broken, raising=False)
    monkeypatch.setattr(plotting, "write_report", broken, raising=False)
    monkeypatch.setattr(module, "_CURVE_SECONDS", 0.0)
    result = train(small_config(), tmp_path)
    assert result.epoch == 4
    assert capsys.readouterr().out.count("no ink") == 2  # once for the curve, once for the rest


def test_train_redraws_the_curve_while_training(tmp_path, monkeypatch):
    from eventsnn import plotting
    from eventsnn.experiments import session as module

    drawn = []
    monkeypatch.setattr(plotting, "plot_history", lambda history, **options: drawn.append(len(history)), raising=False)
    monkeypatch.setattr(plotting, "write_report", lambda *arguments, **options: [], raising=False)
    monkeypatch.setattr(module, "_CURVE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_CURVE_SHARE", 0.0)
    train(small_config(), tmp_path, progress=False)
    assert drawn == [1, 2, 3, 4]


# -- continue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1, 3, 4, None])
def test_continue_run_gives_the_same_bits(finished, run, epoch):
    continue_run(run, epoch, threads=2, **QUIET)
    assert_same_bits(finished, run)


def test_savepoints_hold_the_course_of_the_parameters(finished):
    monitor = ParameterMonitor()
    monitor.load_state_dict(read_savepoint(finished / "savepoints" / "epoch_3")["monitor"])
    assert monitor.epochs.tolist() == [0, 1, 2, 3]
    course = monitor.course("hidden.weight")
    for epoch in (0, 3):
        weight = read_savepoint(finished / "savepoints" / f"epoch_{epoch}")["weights"]["hidden.weight"]
        assert course.values[epoch].tolist() == weight.ravel()[course.followed].tolist()
        assert course.quantiles[epoch, [0, -1]].tolist() == [weight.min(), weight.max()]


def test_continue_run_of_a_savepoint_that_knows_no_course_of_the_parameters(run):
    folder = run / "savepoints" / "epoch_2"
    state = read_savepoint(folder)
    del state["monitor"]  # as versions before it wrote them
    write_savepoint(folder, state)
    assert recorded_until(RunFolder.open(run), 2) is None
    continue_run(run, 2, **QUIET)
    assert read_savepoint(run / "savepoints" / "epoch_4")["monitor"]["epochs"] == [2, 3, 4]


def test_continue_run_sets_later_savepoints_aside(finished, run):
    continue_run(run, 2, **QUIET)
    (aside,) = (run / "savepoints").glob("superseded_*")
    assert list_savepoints(aside) == [3, 4]
    for epoch in (3, 4):
        old = read_savepoint(aside / f"epoch_{epoch}")
        assert without_timings(old["history"]) == without_timings(metrics_of(finished)["epochs"][:epoch])


def test_continue_run_trains_longer(finished, run, tmp_path):
    whole = train(small_config(), tmp_path / "whole", epochs=6, **QUIET)
    result = continue_run(run, 4, epochs=6, **QUIET)
    assert result.epoch == 6
    assert_same_bits(whole.path, run)
    assert load_config(run / "config.yaml") == load_config(whole.path / "config.yaml")


def test_continue_run_drops_later_epochs_from_the_metrics(run, monkeypatch):
    """Seen at the moment at which training goes on."""
    seen = []

    def fit(trainer, *arguments, **options):
        seen.extend((metrics_of(run), list_savepoints(run / "savepoints")))
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", fit)
    with pytest.raises(TrainingInterrupted):
        continue_run(run, 2, **QUIET)
    metrics, epochs = seen
    assert [entry["epoch"] for entry in metrics["epochs"]] == [1, 2]
    assert metrics["test_accuracy"] is None
    assert epochs == [0, 1, 2]


def test_continue_run_of_a_finished_run_only_tests(finished, run):
    (run / "metrics.json").unlink()
    continue_run(run, 4, **QUIET)
    assert_same_bits(finished, run)
    assert not list((run / "savepoints").glob("superseded_*"))


def test_continue_run_says_when_versions_changed(run, capsys):
    metrics = metrics_of(run)
    metrics["versions"]["numpy"] = "1.0"
    (run / "metrics.json").write_text(json.dumps(metrics))
    continue_run(run, 4, plots=False)
    assert "versions changed (numpy 1.0 ->" in capsys.readouterr().out


def test_continue_run_from_elsewhere(finished, tmp_path, monkeypatch):
    """A path to data is made absolute when the run begins."""
    from eventsnn.datasets import data_path

    (tmp_path / "here").mkdir()
    os.symlink(data_path("mnist.npz"), tmp_path / "here" / "digits.npz")
    monkeypatch.chdir(tmp_path / "here")
    sizes = {"dataset.n_train": 32, "dataset.n_valid": 0, "dataset.n_test": 16, "dataset.path": "digits.npz"}
    result = train(load_config("mnist", sizes), tmp_path, epochs=1, **QUIET)
    monkeypatch.chdir(tmp_path)
    assert inference(result.path, progress=False).test_accuracy == result.test_accuracy


# -- inference and eval -------------------------------------------------------------------------------------------


def test_inference_gives_the_result_of_training(finished, capsys):
    result = inference(finished)
    metrics = metrics_of(finished)
    assert (result.test_accuracy, result.test_loss) == (metrics["test_accuracy"], metrics["test_loss"])
    assert result.epoch == 4
    printed = capsys.readouterr().out
    assert "epoch 4" in printed
    assert f"accuracy {100 * result.test_accuracy:.2f} %" in printed


def test_inference_takes_an_epoch(finished):
    result = inference(finished, 0, threads=2, progress=False)
    assert result.epoch == 0
    assert result.test_loss > inference(finished, progress=False).test_loss


def test_evaluate_draws_every_picture(run):
    written = evaluate(run, progress=False)
    assert len(written) >= 6
    assert all(path.is_file() and path.parent == run / "plots" for path in written)


# -- bad run folders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [continue_run, inference, evaluate])
def test_commands_refuse_what_is_no_run(tmp_path, run, command):
    with pytest.raises(CheckpointError, match="no such run folder"):
        command(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="is a file, not a run folder"):
        command(run / "config.yaml")
    with pytest.raises(CheckpointError, match="has no config.yaml; did you mean .*xor_20"):
        command(tmp_path)
    with pytest.raises(CheckpointError, match="has no config.yaml$"):
        command(run / "plots")


@pytest.mark.parametrize("command", [continue_run, inference, evaluate])
def test_commands_list_the_savepoints_there_are(run, command):
    shutil.rmtree(run / "savepoints" / "epoch_3")
    with pytest.raises(CheckpointError, match="no savepoint of epoch 7; there are 0 to 2, 4$"):
        command(run, 7)
    shutil.rmtree(run / "savepoints")
    with pytest.raises(CheckpointError, match=r"has no savepoint, .*start it anew: eventsnn train .*config\.yaml"):
        command(run)


@pytest.mark.parametrize("command", [continue_run, inference])
def test_commands_name_a_damaged_savepoint_and_the_one_before(finished, run, command):
    file = run / "savepoints" / "epoch_4" / "arrays.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"epoch_4/arrays.npz: damaged.*eventsnn continue {run} 3"):
        command(run)
    assert list_savepoints(run / "savepoints") == [0, 1, 2, 3, 4]
    continue_run(run, 3, **QUIET)
    assert_same_bits(finished, run)


def test_continue_run_refuses_a_savepoint_beyond_the_end(run):
    with pytest.raises(CheckpointError, match="of epoch 4, beyond the last one, 3; give more with --epochs"):
        continue_run(run, 4, epochs=3, **QUIET)


def test_continue_run_refuses_a_changed_network(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("- 8", "- 9"))
    with pytest.raises(CheckpointError, match=r"epoch_4: does not fit .*config\.yaml .*was config\.yaml changed"):
        continue_run(run, **QUIET)


def test_continue_run_refuses_a_renamed_savepoint(run):
    os.rename(run / "savepoints" / "epoch_2", run / "savepoints" / "epoch_9")
    with pytest.raises(CheckpointError, match="holds the state of epoch 2"):
        inference(run, 9)


@pytest.mark.parametrize("text", ["name: [", "", "name: x", "\x00"])
def test_commands_refuse_a_damaged_config(run, text):
    (run / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml:(.|\n)*this is the configuration of a run"):
        inference(run)


@pytest.mark.parametrize("content", ["", "[1]", '{"versions": 3}', "{"])
def test_continue_run_makes_damaged_metrics_anew(finished, run, content):
    (run / "metrics.json").write_text(content)
    continue_run(run, 3, **QUIET)
    assert_same_bits(finished, run)


def test_train_refuses_a_file_as_folder(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(CheckpointError, match="is a file; give a folder for the runs with --out DIR"):
        train(small_config(), tmp_path / "out", **QUIET)
    with pytest.raises(CheckpointError, match="no run folder can be made there"):
        train(small_config(), tmp_path / "out" / "inner", **QUIET)


def test_train_refuses_a_folder_it_may_not_write(tmp_path, monkeypatch):
    original = Path.mkdir

    def mkdir(path, *arguments, **options):
        if path.parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        original(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CheckpointError, match=r"no run folder can be made there \(Permission denied\)"):
        train(small_config(), tmp_path, **QUIET)


def test_train_leaves_no_folder_when_the_data_are_missing(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        train(load_config("mnist", {"dataset.path": str(tmp_path / "no.npz")}), tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


def test_create_gives_every_run_its_own_folder(tmp_path):
    paths = {RunFolder.create(small_config(), tmp_path).path for _ in range(5)}
    assert len(paths) == 5


@pytest.mark.skipif(os.name != "posix", reason="no file locks")
def test_continue_run_refuses_a_run_that_is_being_trained(run):
    with RunFolder(run).locked(), pytest.raises(CheckpointError, match="another process is training"):
        continue_run(run, **QUIET)


# -- inference with noise -----------------------------------------------------------------------------------------


def with_hardware(monkeypatch, hardware):
    """Experiments whose trainers have this hardware."""

    def build_trainer(config, network, *, threads=None):
        return Trainer(network, FirstSpikeCrossEntropy(), Adam(2e-2), seed=0, batch_size=20, hardware=hardware)

    monkeypatch.setattr(run_module, "build_trainer", build_trainer)


def test_repeat_inference_is_mean_and_spread_over_new_noise(tmp_path, monkeypatch, capsys):
    with_hardware(monkeypatch, Hardware(delay_jitter=1e-3, threshold_noise=ThresholdNoise(sample=0.05)))
    path = train(small_config(), tmp_path, **QUIET).path
    result = repeat_inference(path, 4, seed=3)
    assert (result.path, result.epoch) == (path, 4)
    assert len(set(result.test_losses)) == 4
    losses = np.asarray(result.test_losses)
    assert f"loss {losses.mean():.6g} +- {losses.std(ddof=1):.2g}" in capsys.readouterr().out
    assert result.mean_accuracy == pytest.approx(np.mean(result.test_accuracies))
    assert result.std_accuracy == pytest.approx(np.std(result.test_accuracies, ddof=1))
    later = repeat_inference(path, 2, seed=5, threads=2, progress=False)  # any repetition can be had again
    assert later.test_losses == result.test_losses[2:]
    with pytest.raises(ValidationError, match="n_repetitions: must be >= 2, got 1"):
        repeat_inference(path, 1)


@pytest.mark.parametrize(
    "hardware", [None, Hardware(weight_step=0.1, threshold_noise=ThresholdNoise(fixed_mean=0.1, fixed_std=0.05))]
)
def test_repeat_inference_refuses_what_would_always_be_the_same(tmp_path, monkeypatch, hardware):
    with_hardware(monkeypatch, hardware)
    path = train(small_config(training__epochs=1), tmp_path, **QUIET).path
    with pytest.raises(ValidationError, match="has no noise in inference, all repetitions would be the same"):
        repeat_inference(path, 3, progress=False)


# -- the untrained network ----------------------------------------------------------------------------------------


def test_evaluate_needs_savepoint_0_for_the_untrained_network(run):
    shutil.rmtree(run / "savepoints" / "epoch_0")
    with pytest.raises(CheckpointError, match="no savepoint of epoch 0; there are 1 to 4"):
        evaluate(run, untrained=True, progress=False)
    assert not list((run / "plots").iterdir())
