"""Sweeps: every combination once, whatever comes between; one table."""

import json
import os
import signal
import subprocess
import sys
import time

import joblib
import pytest

from eventsnn.errors import CheckpointError, ConfigError, EventSNNError, SimulationError
from eventsnn.experiments import sweep as module
from eventsnn.experiments.config import dump_config
from eventsnn.experiments.run_folder import RunFolder
from eventsnn.experiments.sweep import SweepInterrupted, sweep
from eventsnn.experiments.sweep_plot import draw_sweep
from eventsnn.experiments.sweep_table import read_table
from eventsnn.training.checkpoint import list_savepoints
from tests.experiments.helpers import assert_same_bits, metrics_of, small_config

GRID = """\
config: small.yaml
parameters:
  - path: network.hidden.0
    values: [3, 4]
  - path: training.learning_rate
    values: [0.01, 0.02]
"""
NAMES = [f"hidden.0={n},learning_rate={rate}" for n in (3, 4) for rate in (0.01, 0.02)]
ONE = {"jobs": 1, "threads": 1, "progress": False}


def write_sweep(folder, text=GRID, **overrides):
    """A sweep file and its configuration."""
    (folder / "small.yaml").write_text(dump_config(small_config(**overrides)))
    (folder / "grid.yaml").write_text(text)
    return folder / "grid.yaml"


def without_seconds(table):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table.rows]


def stamps(folder):
    """When each file in a folder was written, to the nanosecond."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed sweep; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    return sweep(write_sweep(folder), folder / "out", **ONE)


def test_sweep_runs_every_combination_and_writes_one_table(whole):
    assert whole.path.name == "grid"
    assert sorted(path.name for path in whole.path.iterdir()) == [*NAMES, "sweep.csv"]
    assert read_table(whole.path) == whole.table
    assert [row["run"] for row in whole.table.rows] == NAMES
    for row in whole.table.rows:
        metrics = metrics_of(whole.path / row["run"])
        assert (row["network.hidden.0"], row["training.learning_rate"]) == (
            int(row["run"][9]), float(row["run"].rpartition("=")[2]),
        )  # fmt: skip
        assert row["test_accuracy"] == metrics["test_accuracy"]
        assert row["test_loss"] == metrics["test_loss"]
        assert row["valid_accuracy"] == metrics["epochs"][-1]["valid_accuracy"]
        assert row["seconds"] == pytest.approx(sum(entry["seconds"] for entry in metrics["epochs"]), abs=1e-3)
        assert (row["epochs"], row["state"]) == (4, "finished")
    assert len({row["test_loss"] for row in whole.table.rows}) == 4


def test_a_finished_sweep_runs_nothing(whole, capsys):
    before = stamps(whole.path)
    before.pop(whole.path / "sweep.csv")  # is written anew, the same
    again = sweep(whole.path.parents[1] / "grid.yaml", whole.path.parent, jobs=2)
    assert again.table == whole.table
    after = stamps(whole.path)
    after.pop(whole.path / "sweep.csv")
    assert after == before
    assert "4 runs: 4 finished, 0 begun, 0 to start\n" in capsys.readouterr().out


@pytest.mark.parametrize("n_signals", [1, 2])
def test_ctrl_c_keeps_finished_epochs_and_the_same_command_goes_on(whole, tmp_path, monkeypatch, capsys, n_signals):
    file = write_sweep(tmp_path)
    original = RunFolder.write_state
    signals = [signal.SIGINT] * n_signals

    def write_state(run, epoch, state):
        original(run, epoch, state)
        while run.path.name == NAMES[1] and epoch == 2 and signals:
            signal.raise_signal(signals.pop())

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_state", write_state)
        with pytest.raises(KeyboardInterrupt, match="1 of 4 runs are finished.*the same command goes on") as caught:
            sweep(file, tmp_path / "out", jobs=1)
    assert isinstance(caught.value, SweepInterrupted)
    assert signal.getsignal(signal.SIGINT) == handler
    assert [row["epochs"] for row in read_table(tmp_path / "out" / "grid").rows] == [4, 2, 0, 0]
    out = capsys.readouterr().out
    assert f"[2/4] {NAMES[1]}: interrupted after 2 epochs" in out
    assert "[3/4]" not in out
    result = sweep(file, tmp_path / "out", jobs=1)
    assert without_seconds(result.table) == without_seconds(whole.table)
    assert f"[2/4] {NAMES[1]}: goes on after epoch 2" in capsys.readouterr().out
    assert_same_bits(whole.path / NAMES[1], result.path / NAMES[1])


def test_a_failed_run_does_not_end_the_others_and_is_tried_again(whole, tmp_path, monkeypatch):
    file = write_sweep(tmp_path)
    original = module.train

    def train(config, *arguments, **options):
        if options["folder_name"] == NAMES[0]:
            raise SimulationError("the potential ran away")
        if options["folder_name"] == NAMES[2]:
            raise ZeroDivisionError("division by zero")
        return original(config, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", train)
        with pytest.raises(EventSNNError, match=r"2 of 4 runs failed, the others are finished") as caught:
            sweep(file, tmp_path / "out", **ONE)
    assert f"{NAMES[0]}: the potential ran away" in str(caught.value)
    assert f"{NAMES[2]}: ZeroDivisionError: division by zero" in str(caught.value)
    states = [row["state"] for row in read_table(tmp_path / "out" / "grid").rows]
    assert states == ["failed", "finished", "failed", "finished"]
    assert without_seconds(sweep(file, tmp_path / "out", **ONE).table) == without_seconds(whole.table)


def test_values_can_be_added_later(whole, tmp_path):
    file = write_sweep(tmp_path, GRID.replace("[0.01, 0.02]", "[0.02]"))
    small = sweep(file, tmp_path / "out", **ONE)
    before = stamps(small.path / NAMES[1])
    file.write_text(GRID)
    assert without_seconds(sweep(file, tmp_path / "out", **ONE).table) == without_seconds(whole.table)
    assert stamps(small.path / NAMES[1]) == before


def test_a_run_of_another_configuration_is_not_taken_for_this_one(whole, tmp_path):
    file = write_sweep(tmp_path, training__batch_size=7)
    with pytest.raises(CheckpointError, match=r"training.batch_size is 20 there and 7 in the sweep.*--out DIR"):
        sweep(file, whole.path.parent, **ONE)


def test_nothing_runs_where_one_configuration_is_wrong(tmp_path):
    file = write_sweep(tmp_path, GRID.replace("0.02]", "-0.02]"))
    with pytest.raises(ConfigError, match="with network.hidden.0 = 3, training.learning_rate = -0.02: .*must be > 0"):
        sweep(file, tmp_path / "out", **ONE)
    assert not (tmp_path / "out").exists()


def test_two_sweeps_in_one_folder_are_refused(whole):
    with RunFolder(whole.path).locked(), pytest.raises(CheckpointError, match="another process"):
        sweep(whole.path.parents[1] / "grid.yaml", whole.path.parent, **ONE)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="give another folder with --out DIR"):
        sweep(write_sweep(tmp_path), tmp_path / "small.yaml", **ONE)


def test_draw_sweep_draws_a_picture_per_parameter(whole):
    paths = draw_sweep(whole.path)
    assert [path.name for path in paths] == ["test_accuracy_hidden.0.png", "test_accuracy_learning_rate.png"]
    assert all(path.stat().st_size > 5000 for path in paths)
    (only,) = [path for path in draw_sweep(whole.path / "sweep.csv", column="seconds") if "hidden" in path.name]
    assert only == whole.path / "plots" / "seconds_hidden.0.png"
    with pytest.raises(EventSNNError, match="must be one of test_accuracy"):
        draw_sweep(whole.path, column="accuracy")


# -- processes ----------------------------------------------------------------------------------------------------

TWELVE = """\
config: small.yaml
parameters:
  - path: network.hidden.0
    values: [3, 4]
  - path: training.learning_rate
    values: [0.01, 0.02]
  - path: [training.seed, dataset.seed]
    values: [0, 1, 2]
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_twelve_runs_killed_in_the_middle_and_resumed(tmp_path):
    """kill -9 of all processes of a sweep: nothing is run twice, nothing is lost, the table is the same."""
    file = write_sweep(tmp_path, TWELVE, training__epochs=12, training__savepoint_every=3)
    command = [sys.executable, "-m", "eventsnn", "sweep", str(file), "--out", str(tmp_path / "out"), "--jobs", "2"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    folder = tmp_path / "out" / "grid"

    def states():
        table = read_table(folder) if (folder / "sweep.csv").is_file() else None
        finished = [] if table is None else [row["run"] for row in table.rows if row["state"] == "finished"]
        begun = [path.parent.name for path in folder.glob("*/savepoints") if 1 < len(list_savepoints(path)) < 5]
        return finished, [name for name in begun if name not in finished]

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        os.killpg(process.pid, signal.SIGSTOP)  # so that it cannot end between this look at it and its end
        finished, half = states()
        if (len(finished) >= 4 and half) or process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL, (tmp_path / "log").read_text()
    finished, half = states()
    assert 4 <= len(finished) < 12
    assert half
    done = {name: stamps(folder / name) for name in finished}
    saved = {name: stamps(folder / name / "savepoints") for name in half}

    result = sweep(file, tmp_path / "out", **ONE)
    for name in finished:  # not touched
        assert stamps(folder / name) == done[name]
    for name in half:  # no epoch with a savepoint is computed again
        now = stamps(folder / name / "savepoints")
        kept = {path: stamp for path, stamp in saved[name].items() if "/." not in str(path)}  # half-written ones go
        assert kept.items() <= now.items()
    undisturbed = sweep(file, tmp_path / "undisturbed", **ONE)
    assert without_seconds(result.table) == without_seconds(undisturbed.table)
    for row in result.table.rows:
        assert_same_bits(folder / row["run"], undisturbed.path / row["run"], epochs=[0, 3, 6, 9, 12])


def test_a_cluster_takes_the_runs_where_joblib_is_told_so(whole, tmp_path):
    """Two worker processes of a local dask cluster; the same bits."""
    distributed = pytest.importorskip("distributed", reason='needs dask: pip install "eventsnn[dask]"')
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        result = sweep(write_sweep(tmp_path), tmp_path / "out", progress=False)
        logs = client.run(lambda: "eventsnn.experiments.sweep" in sys.modules)
    assert without_seconds(result.table) == without_seconds(whole.table)
    assert list(logs.values()) == [True, True]
    assert_same_bits(whole.path / NAMES[3], result.path / NAMES[3])


def test_a_lost_process_is_a_clear_error(tmp_path, monkeypatch):
    """A worker that is killed alone, as by the system when memory runs out."""
    from concurrent.futures.process import BrokenProcessPool

    class Lost:
        def __init__(self, **options):
            pass

        def __call__(self, tasks):
            next(tasks)
            raise BrokenProcessPool("A worker process was killed. More words.")

    monkeypatch.setattr(joblib, "Parallel", Lost)
    with pytest.raises(EventSNNError, match=r"\(A worker process was killed; .*the same command goes on"):
        sweep(write_sweep(tmp_path), tmp_path / "out", **ONE)
    assert json.dumps([row["state"] for row in read_table(tmp_path / "out" / "grid").rows]).count("unfinished") == 4
