"""The command line: what users type, what they see, and the exit status."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import eventsnn
from eventsnn.cli.main import main
from eventsnn.experiments.config import builtin_text, dump_config, load_config
from eventsnn.training.checkpoint import list_savepoints
from tests.experiments.helpers import assert_same_bits, metrics_of, small_config, small_grid_config

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(dump_config(small_config()))
    return str(path)


@pytest.fixture
def run(config, tmp_path, capsys):
    assert main(["train", config, "--out", str(tmp_path / "runs"), "--no-plots"]) == 0
    capsys.readouterr()
    (path,) = (tmp_path / "runs").iterdir()
    return path


def command(*arguments, stderr=subprocess.PIPE):
    line = [sys.executable, "-m", "eventsnn", *map(str, arguments)]
    # a test run in the background of a script (`... &`) ignores Ctrl-C, and so would its children
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


# -- without a run ------------------------------------------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"eventsnn {eventsnn.__version__}\n"


def test_help_lists_the_commands_and_loads_nothing_heavy():
    code = (
        "import sys; from eventsnn.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numba', 'pydantic', 'matplotlib', 'ruamel.yaml', 'tqdm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    for name in ("train", "continue", "inference", "eval", "sweep", "sweep-plot", "convert", "configs"):
        assert re.search(rf"^    {name}\b", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "name", ["train", "continue", "inference", "eval", "sweep", "sweep-plot", "convert", "configs"]
)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"`eventsnn {name}" in capsys.readouterr().out


def test_configs_lists_the_builtin_ones(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "bars",
        "delayed_match",
        "mnist",
        "mnist_16x16",
        "mnist_deep",
        "mnist_eventprop",
        "mnist_latency_surrogate",
        "mnist_latency_surrogate_tuned",
        "mnist_rate_surrogate",
        "mnist_rate_surrogate_tuned",
        "single_in_single_out",
        "xor",
        "yin_yang",
        "yin_yang_W30",
        "yin_yang_WA30",
        "yin_yang_WS30",
        "yin_yang_WS5",
        "yin_yang_eventprop",
        "yin_yang_hw_aware_W",
        "yin_yang_hw_aware_WA",
    ]
    assert all(len(line.split()) > 3 for line in lines)


def test_configs_prints_one(capsys):
    assert main(["configs", "xor"]) == 0
    assert capsys.readouterr().out == builtin_text("xor")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trian", "xor"],
        ["train"],
        ["train", "xor", "--epochs", "0"],
        ["train", "xor", "--epochs", "1.5"],
        ["train", "xor", "--seed", "-1"],
        ["train", "xor", "--ep", "3"],
        ["continue", "RUN"],
        ["continue", "RUN", "last"],
        ["inference"],
        ["inference", "RUN", "--repeat", "1"],
        ["sweep"],
        ["sweep", "SWEEP.yaml", "--jobs", "0"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "yin_yng"], "did you mean 'yin_yang'?"),
        (["train", "xor", "--out", __file__], "is a file; give a folder for the runs with --out DIR"),
        (["continue", "missing", "3"], "missing: no such run folder"),
        (["inference", "."], ".: is not a run folder, it has no config.yaml"),
        (["eval", __file__], "is a file, not a run folder"),
        (["inference", "RUN", "--seed", "1"], "--seed is the seed of the noise of --repeat N"),
        (["sweep", "missing.yaml"], "missing.yaml: no such sweep file"),
        (["sweep-plot", "."], "is not the folder of a sweep, it has no sweep.csv"),
        (["configs", "mnst"], "did you mean 'mnist'?"),
    ],
)
def test_errors_are_one_line_without_traceback(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("eventsnn: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    with pytest.raises(eventsnn.EventSNNError):
        main(["--debug", *arguments])


def test_a_closed_pipe_is_no_error():
    process = command("configs", "mnist")
    process.stdout.close()
    assert process.wait(timeout=60) in (0, 1)
    assert process.stderr.read() == ""


# -- with a run ---------------------------------------------------------------------------------------------------


def test_train_prints_what_it_does(config, tmp_path, capsys):
    assert (
        main(["train", config, "--out", str(tmp_path / "runs"), "--epochs", "2", "--seed", "3", "--threads", "2"]) == 0
    )
    captured = capsys.readouterr()
    (path,) = (tmp_path / "runs").iterdir()
    assert f"run folder: {path}" in captured.out
    assert "data set: xor, 40 training, 20 validation, 20 test samples; generated" in captured.out
    assert re.search(r"test accuracy \d+\.\d\d %", captured.out)
    assert "epoch 2/2" in captured.err
    stored = load_config(path / "config.yaml").training
    assert (stored.epochs, stored.seed, stored.threads) == (2, 3, 2)
    assert (path / "plots" / "confusion_matrix.png").is_file()


def test_train_continue_inference_and_eval(run, capsys):
    before = metrics_of(run)
    assert main(["inference", str(run), "--epoch", "4", "--threads", "2"]) == 0
    assert f"accuracy {100 * before['test_accuracy']:.2f} %" in capsys.readouterr().out
    assert main(["eval", str(run), "--untrained"]) == 0
    listed = capsys.readouterr().out.splitlines()[1:]
    assert len(listed) >= 6
    assert str(run / "plots" / "untrained" / "confusion_matrix.png") in listed
    assert all(os.path.isfile(line) for line in listed)
    assert main(["continue", str(run), "2", "--no-plots"]) == 0
    assert "continuing after epoch 2 of 4" in capsys.readouterr().out
    after = metrics_of(run)
    assert after["test_loss"] == before["test_loss"]
    assert main(["continue", str(run), "4", "--epochs", "5", "--no-plots"]) == 0
    assert list_savepoints(run / "savepoints") == [0, 1, 2, 3, 4, 5]


def test_inference_repeats_only_what_is_noisy(run, capsys):
    assert main(["inference", str(run), "--repeat", "3"]) == 2
    assert "has no noise in inference, all repetitions would be the same; leave out --repeat" in capsys.readouterr().err


def test_sweep_and_sweep_plot(config, tmp_path, capsys):
    text = "parameters:\n  - {path: training.seed, values: [1]}\n"
    (tmp_path / "seeds.yaml").write_text(f"config: {config}\n{text}")
    assert main(["sweep", str(tmp_path / "seeds.yaml"), "--out", str(tmp_path), "--jobs", "1", "--plots"]) == 0
    out = capsys.readouterr().out
    assert "1 run: 0 finished, 0 begun, 1 to start; 1 at a time" in out
    assert re.search(r"\[1/1\] seed=1: test accuracy \d+\.\d\d %, 4 epochs, ", out)
    folder = tmp_path / "seeds"
    assert f"table: {folder / 'sweep.csv'}; pictures: eventsnn sweep-plot {folder}" in out
    assert (folder / "seed=1" / "plots" / "confusion_matrix.png").is_file()
    assert main(["sweep-plot", str(folder), "--column", "test_loss"]) == 0
    assert capsys.readouterr().out == f"{folder / 'plots' / 'test_loss_seed.png'}\n"


@pytest.mark.parametrize("name", ["mnist_latency_surrogate", "mnist_rate_surrogate"])
def test_train_continue_inference_and_eval_on_a_time_grid(name, tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    path.write_text(dump_config(small_grid_config(name)))
    assert main(["train", str(path), "--out", str(tmp_path / "runs"), "--no-plots"]) == 0
    assert "network: Sequential(input 784 -> hidden 12 -> output 10), float32" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    before = metrics_of(run)
    assert main(["continue", str(run), "1", "--no-plots"]) == 0
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
    assert metrics_of(run)["test_loss"] == before["test_loss"]
    assert main(["inference", str(run)]) == 0
    assert f"accuracy {100 * before['test_accuracy']:.2f} %" in capsys.readouterr().out
    assert main(["eval", str(run)]) == 0
    assert (run / "plots" / "raster.png").is_file()


def test_continue_lists_the_savepoints(run, capsys):
    assert main(["continue", str(run), "9"]) == 2
    assert "no savepoint of epoch 9; there are 0 to 4" in capsys.readouterr().err


@posix
def test_ctrl_c_says_how_to_go_on(tmp_path, capsys):
    """A real process and a real signal; what it left is continued to the bits of an undisturbed run."""
    path = tmp_path / "long.yaml"
    path.write_text(dump_config(small_config(training__epochs=1500, training__savepoint_every=7)))
    errors = open(tmp_path / "errors", "w+")  # noqa: SIM115 - a pipe that nobody reads would fill up
    process = command("train", path, "--out", tmp_path / "runs", "--no-plots", stderr=errors)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("*/savepoints/epoch_7")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    errors.seek(0)
    err = errors.read()
    errors.close()
    assert process.returncode == 130, err
    (run,) = (tmp_path / "runs").iterdir()
    found = re.search(
        rf"eventsnn: interrupted; (\d+) of 1500 epochs .*: eventsnn continue {re.escape(str(run))} (\d+)$", err
    )
    assert found, err
    assert "Traceback" not in err
    epoch = int(found[1])
    assert found[2] == found[1]
    assert list_savepoints(run / "savepoints")[-1] == epoch
    assert len(metrics_of(run)["epochs"]) == epoch

    assert main(["continue", str(run), str(epoch), "--epochs", str(epoch + 2), "--no-plots"]) == 0
    assert main(["train", str(path), "--epochs", str(epoch + 2), "--out", str(tmp_path / "whole"), "--no-plots"]) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    assert_same_bits(whole, run, epochs=[0, 7, epoch + 2])


def test_ctrl_c_in_the_making_of_a_progress_bar_shows_no_traceback(config, tmp_path, capsys, monkeypatch):
    """Deleting a tqdm bar whose __init__ was interrupted raises; the traceback would follow our line."""
    deleted, complaints = [], []

    class HalfMadeBar:
        def __del__(self):
            deleted.append(self.__class__)
            raise AttributeError("'tqdm' object has no attribute 'pos'")

    def run_epoch(*arguments):
        bar = HalfMadeBar()  # noqa: F841 - the traceback keeps it alive
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    monkeypatch.setattr("eventsnn.training.trainer.Trainer._run_epoch", run_epoch)
    assert main(["train", config, "--out", str(tmp_path / "runs"), "--no-plots"]) == 130
    assert "interrupted; 0 of 4 epochs are finished and saved" in capsys.readouterr().err
    assert deleted  # while our hook was away
    assert complaints == []
