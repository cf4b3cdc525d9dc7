"""Configurations: every mistake is one clear error with its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsnn.errors import ConfigError
from eventsnn.experiments.config import builtin_text, dump_config, list_configs, load_config, with_overrides
from eventsnn.experiments.schema import ENGINES

BASE = """\
name: mine
dataset: {name: xor}
network:
  tau_mem: 10e-3
  tau_syn: 5e-3
  hidden: [20]
  weight_init:
    hidden: {mean: 1.0, std: 1}
    output: {mean: 1.0, std: 1, scale: fan_in}
training:
  epochs: 3
  learning_rate: 1e-3
  optimizer: {name: adam}
"""


def load(tmp_path, text, overrides=None):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, overrides)


def changed(old, new):
    assert old in BASE
    return BASE.replace(old, new)


BUILT_IN = [
    "bars", "delayed_match", "mnist", "mnist_16x16", "mnist_deep", "mnist_eventprop", "mnist_latency_surrogate",
    "mnist_latency_surrogate_tuned", "mnist_rate_surrogate", "mnist_rate_surrogate_tuned", "single_in_single_out",
    "xor", "yin_yang", "yin_yang_W30", "yin_yang_WA30", "yin_yang_WS30", "yin_yang_WS5", "yin_yang_eventprop",
    "yin_yang_hw_aware_W", "yin_yang_hw_aware_WA",
]  # fmt: skip


# -- what is right ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_load_config_reads_the_builtin_ones(name):
    config = load_config(name)
    assert config.name == name
    assert list_configs()[name]
    assert builtin_text(name).startswith("# ")


def test_list_configs_is_complete():
    assert list(list_configs()) == BUILT_IN


def test_load_config_reads_exponents_as_numbers(tmp_path):
    for text in ("1e-3", "1E-3", "1.e-3", "0.1e-2", "+1e-3"):
        assert load(tmp_path, changed("1e-3", text)).training.learning_rate == 1e-3


def test_load_config_takes_integers_for_numbers(tmp_path):
    config = load(tmp_path, changed("tau_mem: 10e-3", "tau_mem: 2"))
    assert config.network.tau_mem == 2.0
    assert isinstance(config.network.tau_mem, float)


def test_load_config_reads_yaml_1_2(tmp_path):
    assert load(tmp_path, changed("name: mine", "name: on")).name == "on"


def test_load_config_takes_the_initialisation_of_each_layer(tmp_path):
    text = changed("hidden: [20]", "hidden: [20, 30]").partition("  weight_init")[0]
    text += "  weight_init: [{mean: 1, std: 1}, {mean: 2, std: 0.5}, {mean: 0, std: 2, scale: fan_in}]\n"
    text += "training: {epochs: 3, learning_rate: 1e-3}\n"
    config = load(tmp_path, text)
    assert [init.mean for init in config.network.weight_init] == [1.0, 2.0, 0.0]


def test_load_config_reads_a_byte_order_mark_and_windows_line_ends(tmp_path):
    assert load(tmp_path, b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode()).name == "mine"


def test_load_config_applies_overrides(tmp_path):
    config = load(tmp_path, BASE, {"training.epochs": 7, "training.schedule.name": "constant", "dataset.n_train": 8})
    assert (config.training.epochs, config.dataset.n_train) == (7, 8)
    assert with_overrides(config, {"training.seed": 5}).training.seed == 5
    assert config.training.seed == 0


def test_load_config_sets_entries_of_lists_and_of_the_file_as_written(tmp_path):
    given = {"network.hidden": [20, 10]}
    assert load_config("xor", given | {"network.hidden.1": 7}).network.hidden == (20, 7)
    assert load_config("xor", {"network.hidden.0": 5}, edits={"network/hidden": [1, 2]}).network.hidden == (5, 2)
    assert with_overrides(load_config("xor"), {"network.hidden.0": 6}).network.hidden == (6,)
    assert load_config("xor").network.hidden == (20,)  # the file is not changed


def test_config_cannot_be_changed():
    config = load_config("xor")
    with pytest.raises(Exception, match="frozen"):
        config.training.epochs = 3


numbers = st.floats(min_value=1e-300, max_value=1e300)
init = st.fixed_dictionaries({"mean": st.floats(allow_nan=False, allow_infinity=False), "std": numbers})


@settings(max_examples=40, deadline=None)
@given(
    values=st.fixed_dictionaries(
        {
            "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
            "network.tau_mem": numbers,
            "network.v_leak": st.floats(max_value=0.5, min_value=-1e300),
            "network.weight_init": st.fixed_dictionaries({"hidden": init, "output": init}),
            "training.learning_rate": numbers,
            "training.seed": st.integers(0, 2**63 - 1),
            "training.max_dw_norm": st.none() | numbers,
            "training.schedule": st.sampled_from(
                [{"name": "multi_step", "milestones": [1, 5], "gamma": 0.5}, {"name": "cosine", "minimum": 1e-5}]
            ),
            "training.silent": st.sampled_from(
                [{"name": "none"}, {"name": "bumping", "max_silent_fraction": [0.1, 0.2]}, {"name": "bumping"}]
            ),
            "dataset": st.sampled_from([{"name": "mnist", "path": "no"}, {"name": "yin_yang", "seeds": [1, 2, 3]}]),
        }
    )
)
def test_dump_config_reads_back_the_same(tmp_path_factory, values):
    config = load_config("xor", values)
    assert load(tmp_path_factory.mktemp("dump"), dump_config(config)) == config


@pytest.mark.parametrize("name", BUILT_IN)
def test_dump_config_reads_the_builtin_ones_back(tmp_path, name):
    assert load(tmp_path, dump_config(load_config(name))) == load_config(name)


def test_dump_config_is_complete():
    text = dump_config(load_config("xor"))
    for key in ("beta1", "v_threshold", "t_silent", "n_train", "savepoint_every", "scale"):
        assert f"{key}:" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_every_field_has_a_description(engine):
    def check(node):
        for name, field in node.get("properties", {}).items():
            assert "description" in field or field.get("const") or name == "name", name

    schema = ENGINES[engine].model_json_schema()
    check(schema)
    for definition in schema["$defs"].values():
        check(definition)


# -- what is wrong ------------------------------------------------------------------------------------------------


def layers(inits):
    return BASE.partition("  weight_init")[0] + f"  weight_init: {inits}\ntraining: {{epochs: 1, learning_rate: 1}}\n"


LEAKY = "network.output", "leaky"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict([LEAKY]), "training.loss is 'cross_entropy', but network.output is 'leaky'"),
        ({"training.loss": {"name": "max_voltage"}}, "'max_voltage', but network.output is 'first_spike'"),
        (dict([LEAKY]) | {"training.loss": {"name": "mean_voltage"}}, "mean_voltage needs network.t_max"),
        ({"network.hidden_spikes": None, "training.max_dw_norm": 1.0}, "training.max_dw_norm is only for networks"),
        (
            dict([LEAKY]) | {"training.loss": {"name": "max_voltage"}, "training.silent": {"name": "bumping"}},
            "bumping is not for leaky outputs",
        ),
    ],
)
def test_load_config_refuses_what_does_not_fit_together(values, message):
    with pytest.raises(ConfigError, match=message):
        load_config("xor", {"training.max_dw_norm": None} | values)


MISTAKES = {
    "misspelt key": (
        changed("learning_rate", "learning_rat"),
        "training.learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    "key of another section": (
        changed("name: mine", "name: mine\ntau_mem: 3"),
        "tau_mem: unknown key; did you mean 'network.tau_mem'?",
    ),
    "unlike any key": (
        changed("name: mine", "name: mine\nzzz: 3"),
        "zzz: unknown key; valid keys are name, dataset, network, training",
    ),
    "key of a variant": (
        changed("{name: adam}", "{name: adam, momentum: 0.9}"),
        "training.optimizer.momentum: unknown key",
    ),
    "misspelt in a list": (
        changed("{name: adam}", "{name: adam, bet1: 0.9}"),
        "training.optimizer.bet1: unknown key; did you mean 'beta1'?",
    ),
    "misspelt name": (
        changed("{name: adam}", "{name: adm}"),
        "training.optimizer: its name must be one of sgd, adam, got 'adm'; did you mean 'adam'?",
    ),
    "misspelt data set": (
        changed("{name: xor}", "{name: xorr}"),
        "must be one of yin_yang, xor, bars, delayed_match, single_in_single_out, mnist, mnist_16x16, got 'xorr'; did "
        "you mean 'xor'?",
    ),
    "no name": (changed("{name: adam}", "{beta1: 0.9}"), "training.optimizer: its key 'name' is missing"),
    "missing key": (changed("  epochs: 3\n", ""), "training.epochs: is missing"),
    "missing section": (changed("dataset: {name: xor}\n", ""), "dataset: is missing"),
    "null": (changed("epochs: 3", "epochs:"), "training.epochs: expected an integer, got nothing (null)"),
    "quoted number": (
        changed("1e-3", "'1e-3'"),
        "training.learning_rate: expected a number, got the string '1e-3' (remove the quotes)",
    ),
    "string": (changed("epochs: 3", "epochs: three"), "training.epochs: expected an integer, got a string: 'three'"),
    "float for int": (changed("epochs: 3", "epochs: 3.0"), "training.epochs: expected an integer, got float: 3.0"),
    "bool for int": (changed("epochs: 3", "epochs: true"), "training.epochs: expected an integer, got a boolean: True"),
    "bool for float": (changed("1e-3", "true"), "training.learning_rate: expected a number, got a boolean: True"),
    "int for bool": (
        changed("{name: adam}", "{name: adam, amsgrad: 1}"),
        "training.optimizer.amsgrad: expected true or false, got an integer: 1",
    ),
    "list for number": (changed("10e-3", "[1]"), "network.tau_mem: expected a number, got a list: [1]"),
    "number for list": (changed("[20]", "20"), "network.hidden: expected a list, got an integer: 20"),
    "in a list": (changed("[20]", "[20, 2.5]"), "network.hidden[1]: expected an integer, got float: 2.5"),
    "number for mapping": (
        changed("{name: adam}", "adam"),
        "training.optimizer: expected a mapping, got a string: 'adam'",
    ),
    "section is a list": (
        BASE.partition("network")[0] + "network: [1]\ntraining: {epochs: 1, learning_rate: 1}",
        "network: expected a mapping, got a list: [1]",
    ),
    "date": (changed("epochs: 3", "epochs: 2001-01-01"), "training.epochs: expected an integer, got date"),
    "nan": (changed("1e-3", ".nan"), "training.learning_rate: must be finite, got nan"),
    "inf": (changed("10e-3", ".inf"), "network.tau_mem: must be finite, got inf"),
    "not positive": (changed("10e-3", "-1"), "network.tau_mem: must be > 0"),
    "zero epochs": (changed("epochs: 3", "epochs: 0"), "training.epochs: must be >= 1, got 0"),
    "too large": (changed("{name: adam}", "{name: adam, beta1: 1}"), "training.optimizer.beta1: must be < 1"),
    "literal": (
        changed("epochs: 3", "epochs: 3\n  dtype: float46"),
        "training.dtype: must be one of float32, float64, got 'float46'; did you mean",
    ),
    "leak above threshold": (
        changed("  hidden: [", "  v_leak: 2\n  hidden: ["),
        "network: v_leak (2.0) must be less than v_threshold (1.0)",
    ),
    "early after late": (
        changed("{name: xor}", "{name: xor, t_early: 3}"),
        "dataset: t_early (3.0) must be less than t_late (2.0)",
    ),
    "too few layers": (layers("[{mean: 1, std: 1}]"), "network: weight_init has 1 entries for 2 layers"),
    "misspelt in a layer": (
        layers("[{mean: 1, std: 1}, {mean: 1, st: 1}]"),
        "network.weight_init[1].st: unknown key; did you mean 'std'?",
    ),
    "misspelt in an init": (
        changed("{mean: 1.0, std: 1}", "{men: 1.0, std: 1}"),
        "network.weight_init.hidden.men: unknown key; did you mean 'mean'?",
    ),
    "no init": (layers("3"), "network.weight_init: expected a mapping, got an integer: 3"),
    "warmup": (
        changed("epochs: 3", "epochs: 3\n  schedule: {name: cosine, warmup: 3}"),
        "training: schedule.warmup (3.0) must be less than epochs (3)",
    ),
    "bad folder name": (changed("name: mine", "name: ../mine"), "name: must consist of letters, digits"),
    "integer key": (changed("name: mine", "name: mine\n3: 4"), "3: unknown key"),
    "duplicate key": (
        changed("epochs: 3", "epochs: 3\n  epochs: 4"),
        'line 12, column 3: found duplicate key "epochs"',
    ),
    "tab": (changed("  epochs: 3", "\tepochs: 3"), "line 11, column 1: a tab cannot be used here; indent with spaces"),
    "syntax": (changed("[20]", "[20"), "line 7, column "),
    "object": (
        changed("epochs: 3", "epochs: !!python/object/apply:os.system [echo]"),
        "line 11, column 11: could not determine a constructor",
    ),
    "two documents": (BASE + "---\na: 1\n", "line 14, column 1"),
    "unknown alias": (changed("epochs: 3", "epochs: *three"), "line 11, column 11: found undefined alias"),
    "bad integer": (changed("epochs: 3", "epochs: !!int three"), "a value cannot be understood"),
    "recursive": (changed("name: mine", "name: mine\na: &a [*a]"), "a: unknown key"),
    "nested": ("a: " + "[" * 1500, "nested too deeply"),
    "empty": ("", "must be a mapping of keys to values, it is empty"),
    "only a comment": ("# nothing\n", "must be a mapping of keys to values, it is empty"),
    "list": ("- 1\n", "must be a mapping of keys to values, got list"),
    "text": ("hello", "must be a mapping of keys to values, got str"),
    "unhashable key": ("? {a: 1}\n: 2\n", "line 1, column 3: found unhashable key"),
    "control characters": ("name: a\x00b\n", "unacceptable character"),
    "not UTF-8": (b"name: \xff\xfe", "is not UTF-8 text (byte 6)"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_load_config_names_the_mistake(tmp_path, kind):
    text, message = MISTAKES[kind]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert "\n" not in str(caught.value)  # one mistake, one line


def test_load_config_lists_several_mistakes(tmp_path):
    text = changed("epochs: 3", "epoch: 3").replace("10e-3", "x")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'mine.yaml'}:"
    assert lines == [
        "  training.epoch: unknown key; did you mean 'epochs'?",
        "  network.tau_mem: expected a number, got a string: 'x'",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnst", "neither a built-in configuration nor a file (did you mean 'mnist'?); built-in configurations: bars"),
        ("yin-yang.yaml", "no such file (did you mean 'yin_yang'?)"),
        (
            "missing/zzz.yaml",
            f"no such file; built-in configurations: {', '.join(BUILT_IN)}",
        ),
        ("", "is a folder"),
        ("a\x00b", "cannot be read"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_load_config_names_the_builtin_ones_when_there_is_no_file(name, message):
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert message in str(caught.value)


def test_load_config_of_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is a folder, not a configuration file"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").write_text(BASE)
    with pytest.raises(ConfigError, match="it is a run folder: eventsnn continue"):
        load_config(tmp_path)


def test_load_config_prefers_the_builtin_one_to_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xor").write_text(BASE)
    assert load_config("xor").name == "xor"
    assert load_config("./xor").name == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epoch": 3}, "training.epoch: unknown key; did you mean 'epochs'?"),
        ({"training.epochs": -1}, "training.epochs: must be >= 1"),
        ({"name.x": 1}, "name.x cannot be set, 'name' is not a mapping"),
        (
            {"network.hidden.1": 1},
            "network.hidden.1 cannot be set, 'network.hidden' is a list of 1 and '1' is",
        ),
        ({"network.hidden.x": 1}, "'network.hidden' is a list of 1 and 'x' is no index of it"),
    ],
)
def test_load_config_checks_overrides(overrides, message):
    with pytest.raises(ConfigError) as caught:
        load_config("xor", overrides)
    assert message in str(caught.value)


def test_builtin_text_of_an_unknown_name_is_an_error():
    with pytest.raises(ConfigError, match="did you mean 'xor'"):
        builtin_text("xo")
