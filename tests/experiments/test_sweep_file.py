"""Sweep files: what they say, how the runs are called, and every mistake in one clear line."""

import json

import pytest

from eventsnn.errors import CheckpointError, ConfigError
from eventsnn.experiments.config import builtin_text, load_config
from eventsnn.experiments.sweep_file import read_sweep, short_names
from eventsnn.experiments.sweep_table import RESULTS, SweepTable, read_table, write_table
from tests.experiments.fast_and_deep_files import delays, yin_yang

GRID = """\
config: xor
parameters:
  - path: network.hidden.0
    values: [4, 8]
  - path: [training.seed, dataset.seed]
    values: [0, 1, 2]
"""


def read(tmp_path, text, **options):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return read_sweep(path, **options)


def test_read_sweep_makes_every_combination(tmp_path):
    sweep = read(tmp_path, GRID)
    assert sweep.name == "grid"
    assert sweep.parameters == ("network.hidden.0", "training.seed")
    assert [point.values for point in sweep.points] == [(4, 0), (4, 1), (4, 2), (8, 0), (8, 1), (8, 2)]
    assert sweep.points[4].name == "hidden.0=8,seed=1"
    assert sweep.points[4].config == load_config("xor", {"network.hidden": [8], "training.seed": 1, "dataset.seed": 1})


def test_read_sweep_sets_values_in_the_file_as_it_is_written(tmp_path):
    """Paths with slashes, and `value`, are fastAndDeep's; such files name no configuration."""
    sweep = read(tmp_path, "parameters:\n  - {path: network/hidden/0, value: [4, 8]}", config="xor")
    assert sweep.parameters == ("network/hidden/0",)
    assert [point.config.network.hidden for point in sweep.points] == [(4,), (8,)]
    assert sweep.points[0].name == "hidden.0=4"


def test_read_sweep_looks_for_the_configuration_beside_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(builtin_text("xor").replace("name: xor\n\n", "name: mine\n\n"))
    assert read(tmp_path, GRID.replace("xor", "mine.yaml")).points[0].config.name == "mine"
    assert read(tmp_path, GRID, config=tmp_path / "mine.yaml").points[0].config.name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: []", "parameters: "),
        ("config: xor", "parameters: is missing"),
        (GRID.replace("config: xor", ""), "config is missing; name the configuration there, or with --config CONFIG"),
        (GRID.replace("xor", "xorr"), "neither a built-in configuration nor a file"),
        (GRID.replace("parameters", "paramters"), "paramters: unknown key; did you mean 'parameters'?"),
        (GRID.replace("values: [4", "vlaues: [4"), "vlaues: unknown key; did you mean 'values'?"),
        (GRID.replace("[4, 8]", "4"), "values: expected a list, got an integer: 4"),
        (GRID.replace("[4, 8]", "[]"), "values: "),
        (GRID.replace("[4, 8]", "[4, 4]"), "parameters[0].values: 4 is listed twice"),
        (GRID.replace("dataset.seed", "network.hidden.0"), "network.hidden.0 is listed twice"),
        (GRID.replace("[4, 8]", "[4, -8]"), "with network.hidden.0 = -8, training.seed = 0: "),
        (GRID.replace("training.seed", "training.sede"), "training.sede: unknown key; did you mean 'seed'?"),
        (GRID.replace("hidden.0", "hidden.1"), "'network.hidden' is a list of 1 and '1' is no index of it"),
        (GRID.replace("hidden.0", "hidden.x"), "'network.hidden' is a list of 1 and 'x' is no index of it"),
        (GRID.replace("hidden.0", "engine.0"), "network.engine: must be one of"),
        ("- xor", "must be a mapping of keys to values, got list"),
        ("config: [", "line 1, column 10"),
    ],
)
def test_read_sweep_names_the_mistake(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'grid.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_read_sweep_needs_a_file(tmp_path):
    with pytest.raises(ConfigError, match="no such sweep file"):
        read_sweep(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder; give the file that the sweep was started with"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["training.seed", "training.learning_rate"], ["seed", "learning_rate"]),
        (["training.silent.name", "training.loss.name"], ["silent.name", "loss.name"]),
        (["network_layout/layers/0/name", "network_layout/layers/2/name"], ["layers.0.name", "layers.2.name"]),
        (["a.seed", "b.a.seed"], ["a.seed", "b.a.seed"]),
        (["name"], ["name"]),
    ],
)
def test_short_names_are_the_ends_that_differ(paths, names):
    assert short_names(paths) == names


def test_folders_of_values_that_are_no_names_are_told_apart(tmp_path):
    losses = [{"name": "cross_entropy", "xi": 0.2}, {"name": "cross_entropy", "xi": 0.1}, {"name": "mse"}]
    losses[2] |= {"t_correct": 1.0, "t_wrong": 2.0, "alpha": 0.125, "beta": 1.5, "t_silent": 7.25}
    text = f"config: xor\nparameters:\n  - path: training.loss\n    values: {losses}\n"
    names = [point.name for point in read(tmp_path, text).points]
    assert names[0] == "loss=name-cross_entropy-xi-0.2"
    assert len(set(names)) == 3
    same = "config: xor\nparameters:\n  - path: training.silent.name\n    values: [none, ' none']\n"
    with pytest.raises(ConfigError, match="name must be one of"):  # the names, which would be one, come before this
        read(tmp_path, same)


def test_table_is_read_as_it_was_written(tmp_path):
    results = [0.1, 1.5, None, 30, 2.25, "finished", "a=1,b=x"]
    row = {"a": 1, "b": "x, y", "c": [1, 2.5], "d": True, **dict(zip(RESULTS, results, strict=True))}
    table = SweepTable(("a", "b", "c", "d"), (row,))
    write_table(table, tmp_path / "sweep.csv")
    assert read_table(tmp_path) == table
    assert read_table(tmp_path / "sweep.csv") == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not the folder of a sweep, it has no sweep.csv"),
        ("", "its last columns must be test_accuracy"),
        ("a,b\n1,2\n", "its last columns must be test_accuracy"),
        (f"a,{','.join(RESULTS)}\n1,2\n", "line 2 has another number of columns"),
        ("\0", "its last columns must be test_accuracy"),
    ],
)
def test_read_table_refuses_other_files(tmp_path, text, message):
    if text is not None:
        (tmp_path / "sweep.csv").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        read_table(tmp_path)
    assert message in str(caught.value)


def test_read_sweep_takes_a_sweep_file_of_fast_and_deep_unchanged(tmp_path):
    """Their form: `value`, slashes, no configuration; layers turned into others keep the keys of what they were."""
    base = yin_yang(delays("DelaySynaptic", 0.003), 0.01, 1.0)
    (tmp_path / "theirs.yaml").write_text(json.dumps(base))
    text = """\
parameters:
  - path: [training_params/torch_seed, training_params/numpy_seed]
    value: [1000, 1001]
  - path: [network_layout/layers/0/name, network_layout/layers/2/name]
    value: ["DelayAxonal", "BroadcastLayer"]
  - path: network_layout/layers/1/size
    value: [30, 5]
"""
    notes = []
    sweep = read(tmp_path, text, config=tmp_path / "theirs.yaml", note=notes.append)
    assert sweep.points[3].name == "torch_seed=1000,layers.0.name=BroadcastLayer,layers.1.size=5"
    first, other = sweep.points[0].config, sweep.points[7].config
    assert [layer.delay and layer.delay.kind for layer in first.network.layers] == ["axonal", "axonal"]
    assert [layer.delay for layer in other.network.layers] == [None, None]
    assert (first.network.layers[0].size, other.network.layers[0].size) == (30, 5)
    assert first.training.seed != other.training.seed
    assert len(notes) == len(set(notes)) > 0  # of one run, not of all eight
    with pytest.raises(ConfigError, match="torch_sed: unknown key; did you mean 'torch_seed'"):
        read(tmp_path, text.replace("torch_seed", "torch_sed"), config=tmp_path / "theirs.yaml")
