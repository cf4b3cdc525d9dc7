"""The layout as a contract: imports run one way, numba stays in kernels/, files stay short."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "eventsnn"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400

# A part may import itself and the parts of the rows above, never a neighbour in its own row.
ORDER = [
    {"errors"},
    {"_names", "_shipped", "_validation", "kernels"},
    {"_synapses", "_neuron"},
    {"_windows"},
    {"_paths"},
    {"spikes", "neurons", "clocked_neurons", "surrogates", "currents", "connections", "channels"},
    {"convolution"},
    {"pooling"},
    {"_parameters"},
    {"graph"},
    {"network", "encoding", "decoding", "sources", "clock"},
    {"simulation"},
    {"gradients"},
    {"training"},
    {"datasets", "plotting"},
    {"conversion"},
    {"experiments"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
# Only these may import them.
IMPORTERS = {"datasets": {"experiments", "cli"}, "plotting": {"experiments", "cli"}}


def arrows(source, module):
    """The imported module of every import in `source`, `module` being its dotted name; those for type checkers too."""

    tree = ast.parse(source)

    def plain(name):
        """Of `import eventsnn` what is used of it, else the module."""
        if name != "eventsnn":
            return [name]
        return sorted(
            {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == name}
        )

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name for alias in node.names for name in plain(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, base] if base else parent)
            # `from eventsnn import spikes` may import a module: keep the name
            yield from (f"{base}.{alias.name}" if base == "eventsnn" else base for alias in node.names)


def part_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def wrong_arrows(source, module):
    """Sentences on the imports of `source` that break the order."""
    importer = part_of(module)
    for imported in arrows(source, module):
        if imported.split(".")[0] == "numba" and importer != "kernels":
            yield f"{module} imports numba: njit lives in eventsnn/kernels only"
        if imported.split(".")[0] != "eventsnn" or importer == "__init__" or imported == "eventsnn.__version__":
            continue
        part = part_of(imported)
        if part not in LEVEL:
            yield f"{module} imports {imported}: import from the module that defines it, not from the flat namespace"
        elif part == importer:
            continue
        elif importer not in LEVEL:
            yield f"{module}: give {importer} a row in ORDER"
        elif LEVEL[part] >= LEVEL[importer] or importer not in IMPORTERS.get(part, {importer}):
            yield f"{module} imports {imported}: arrow the wrong way"


def dotted(path):
    # with `__init__` at the end of a package: relative imports then count from the package itself
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_run_one_way(path):
    module = "eventsnn" if path == PACKAGE / "__init__.py" else dotted(path)
    assert list(wrong_arrows(path.read_text(), module)) == []


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_errors_import_nothing():
    imported = set(arrows((PACKAGE / "errors.py").read_text(), "eventsnn.errors"))
    assert imported <= {"__future__"}


def test_every_part_has_a_row():
    parts = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert parts - {"__init__"} <= set(LEVEL)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("eventsnn.spikes", "from eventsnn.network import Sequential"),
        ("eventsnn.spikes", "from eventsnn.neurons import LIF"),
        ("eventsnn.spikes", "import eventsnn.network"),
        ("eventsnn.spikes", "from eventsnn import network"),
        ("eventsnn.spikes", "from . import network"),
        ("eventsnn.simulation.result", "from ..gradients.check import check_gradients"),
        ("eventsnn.simulation.__init__", "from ..gradients import check_gradients"),
        ("eventsnn.spikes", "from eventsnn import Sequential"),
        ("eventsnn.spikes", "import eventsnn\nprint(eventsnn.Sequential)"),
        ("eventsnn.spikes", "def f():\n    from eventsnn.cli import main"),
        ("eventsnn.kernels.flow", "try:\n    from eventsnn.spikes import Spikes\nexcept ImportError:\n    pass"),
        ("eventsnn.spikes", "if TYPE_CHECKING:\n    from eventsnn.network import Sequential"),
        ("eventsnn.gradients.check", "if TYPE_CHECKING:\n    from eventsnn.training.losses import FirstSpikeLoss"),
        ("eventsnn.plotting.report", "if TYPE_CHECKING:\n    from eventsnn.datasets.base import Dataset"),
        ("eventsnn.training.trainer", "from eventsnn.datasets.base import Split"),
        ("eventsnn.conversion.convert", "from eventsnn.datasets import load_mnist"),
        ("eventsnn.gradients.check", "from eventsnn.plotting import plot_raster"),
        ("eventsnn.plotting.raster", "from eventsnn.datasets.base import Split"),
        ("eventsnn.simulation.result", "from numba import njit"),
        ("eventsnn.simulation.result", "import numba as nb"),
        ("eventsnn", "from numba import njit"),
        ("eventsnn.unheard_of", "from eventsnn.errors import DataError"),
    ],
)
def test_wrong_arrows_finds(module, source):
    assert len(list(wrong_arrows(source, module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("eventsnn.network", "from eventsnn.neurons import LIF\nimport numpy"),
        ("eventsnn.network", "from .neurons import LIF"),
        ("eventsnn.cli.main", "from eventsnn import __version__"),
        ("eventsnn.cli.main", "import eventsnn\nprint(eventsnn.__version__)"),
        ("eventsnn.cli.train", "from eventsnn.datasets import load_mnist"),
        ("eventsnn.kernels.flow", "from numba import njit\nfrom eventsnn.kernels.constants import N"),
        ("eventsnn", "from eventsnn.network import Sequential"),
    ],
)
def test_wrong_arrows_allows(module, source):
    assert list(wrong_arrows(source, module)) == []
