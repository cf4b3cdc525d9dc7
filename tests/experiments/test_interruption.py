"""Runs that end too soon, by Ctrl-C, a full disk or kill -9, and go on with the same bits."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from eventsnn.errors import CheckpointError
from eventsnn.experiments.config import dump_config
from eventsnn.experiments.run import TrainingInterrupted, continue_run, train
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.training.checkpoint import list_savepoints, read_savepoint
from eventsnn.training.trainer import Trainer
from tests.experiments.helpers import assert_same_bits, metrics_of, small_config

QUIET = {"progress": False, "plots": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four epochs; not to be changed."""
    return train(small_config(), tmp_path_factory.mktemp("finished"), **QUIET).path


# -- interruption -------------------------------------------------------------------------------------------------


def interrupt_in_epoch(monkeypatch, wanted):
    original = Trainer._run_epoch

    def run_epoch(trainer, *arguments):
        metrics = original(trainer, *arguments)
        if trainer.epoch + 1 == wanted:
            raise KeyboardInterrupt
        return metrics

    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)


@pytest.mark.parametrize("every", [1, 3, 10])
def test_ctrl_c_keeps_the_finished_epochs(finished, tmp_path, monkeypatch, every):
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 3)
        with pytest.raises(KeyboardInterrupt, match="2 of 4 epochs are finished and saved") as caught:
            train(small_config(training__savepoint_every=every), tmp_path, **QUIET)
    path = caught.value.path
    assert f"eventsnn continue {path} 2" in str(caught.value)
    assert len(metrics_of(path)["epochs"]) == 2
    continue_run(path, 2, **QUIET)
    assert_same_bits(finished, path, epochs=[0, 2, 4])


def test_ctrl_c_while_saving_keeps_the_epoch(finished, tmp_path, monkeypatch):
    from eventsnn.training import checkpoint

    calls = 0
    original = checkpoint.write_synced

    def write_synced(path, data):
        nonlocal calls
        calls += 1
        if calls == 5:  # the arrays of epoch 2
            raise KeyboardInterrupt
        original(path, data)

    monkeypatch.setattr(checkpoint, "write_synced", write_synced)
    with pytest.raises(TrainingInterrupted) as caught:
        train(small_config(), tmp_path, **QUIET)
    assert caught.value.epoch == 2
    continue_run(caught.value.path, 2, **QUIET)
    assert_same_bits(finished, caught.value.path)


def test_ctrl_c_between_savepoint_and_metrics_writes_both(finished, tmp_path, monkeypatch):
    original = RunFolder.write_metrics
    calls = 0

    def write_metrics(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:  # epoch 0, epoch 1, epoch 2
            raise KeyboardInterrupt
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_metrics", write_metrics)
        with pytest.raises(TrainingInterrupted) as caught:
            train(small_config(), tmp_path, **QUIET)
    assert caught.value.epoch == 2
    assert len(metrics_of(caught.value.path)["epochs"]) == 2
    continue_run(caught.value.path, 2, **QUIET)
    assert_same_bits(finished, caught.value.path)


def test_a_full_disk_ends_training_with_a_clear_error_and_keeps_the_savepoints(finished, tmp_path, monkeypatch):
    original, calls = os.fsync, 0

    def fsync(handle):
        nonlocal calls
        calls += 1
        if calls > 22:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointError, match=r"No space left on device.*untouched") as caught:
            train(small_config(), tmp_path, **QUIET)
    (path,) = tmp_path.iterdir()
    before, epoch = str(caught.value).rsplit(" ", 1)
    assert before.endswith(f"then go on with: eventsnn continue {path}")
    assert int(epoch) in list_savepoints(path / "savepoints")
    assert 1 <= len(list_savepoints(path / "savepoints")) < 5
    continue_run(path, **QUIET)
    assert_same_bits(finished, path)


# -- kill -9 ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_kill_9_at_20_random_moments_changes_no_bit(tmp_path):
    """Real processes of the command line, one thread, against an undisturbed run with two threads."""
    config = small_config(training__epochs=400, training__time_noise=0.05, training__savepoint_every=2)
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    whole = train(config, tmp_path / "whole", threads=2, **QUIET).path
    rng = random.Random(0)
    killed = tmp_path / "killed"
    command = ["train", str(file), "--out", str(killed), "--no-plots"]
    n_kills, kills_in_training = 0, 0
    while True:
        process = start(command, tmp_path / "errors")
        if n_kills < 20:
            newest = latest(killed)
            deadline = time.monotonic() + 60
            # One kill in four comes while the process starts, the others some epochs after it has begun to train.
            while n_kills % 4 and latest(killed) in (newest, 0) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.12))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                n_kills += 1
        process.wait(timeout=120)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, (tmp_path / "errors").read_text()
            break
        run = next(killed.glob("xor_*"), None) if killed.exists() else None
        if run is None or not list_savepoints(run / "savepoints"):
            shutil.rmtree(killed, ignore_errors=True)
            continue
        assert len(metrics_of(run)["epochs"] if (run / "metrics.json").exists() else []) <= 400
        at = latest(killed)
        kills_in_training += 0 < at < 400
        read_savepoint(run / "savepoints" / f"epoch_{at}")
        command = ["continue", str(run), str(at), "--threads", "1", "--no-plots"]
    assert n_kills == 20
    assert kills_in_training >= 10
    assert_same_bits(whole, run)


def start(command, errors):
    with open(errors, "w") as file:  # a pipe that nobody reads would fill up
        return subprocess.Popen(
            [sys.executable, "-m", "eventsnn", *command], stdout=subprocess.DEVNULL, stderr=file, text=True
        )


def latest(out):
    run = next(out.glob("xor_*"), None) if out.exists() else None
    return max(list_savepoints(run / "savepoints"), default=0) if run else 0
