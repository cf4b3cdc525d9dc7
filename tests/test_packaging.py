import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import eventsnn
from eventsnn._shipped import SHIPPED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_version_has_one_home():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "eventsnn.__version__"}
    sources = [path for path in (ROOT / "eventsnn").rglob("*.py") if f'"{eventsnn.__version__}"' in path.read_text()]
    assert sources == [ROOT / "eventsnn" / "__init__.py"]


def test_changelog_has_an_entry_for_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[:2] == ["Unreleased", eventsnn.__version__]


def test_installed_version_is_this_one():
    try:
        installed = metadata.version("eventsnn")
    except metadata.PackageNotFoundError:
        pytest.skip("eventsnn is not installed here, it is imported from the checkout")
    assert installed == eventsnn.__version__


def test_every_package_is_listed():
    folders = {path.parent for path in (ROOT / "eventsnn").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"eventsnn._data"}


def test_setup_py_only_calls_setup():
    lines = [line for line in (ROOT / "setup.py").read_text().splitlines() if line and not line.startswith('"""')]
    assert lines == ["from setuptools import setup", "setup()"]


@pytest.mark.slow
def test_wheel_holds_every_file_and_finds_its_data(tmp_path):
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building without isolation needs setuptools >= 77: pip install -e '.[test]'")
    source = tmp_path / "source"  # a copy: building leaves build/ behind
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nbi", "*.nbc")
    for folder in ("eventsnn", "data"):
        shutil.copytree(ROOT / folder, source / folder, ignore=junk)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run = [sys.executable, "-m"]
    subprocess.run(
        [*run, "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source], check=True, capture_output=True
    )
    [wheel] = tmp_path.glob(f"eventsnn-{eventsnn.__version__}-*.whl")

    code = {path.relative_to(source).as_posix() for path in (source / "eventsnn").rglob("*") if path.is_file()}
    data = {f"eventsnn/_data/{path.name}" for path in (source / "data").iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == code | data

    site = tmp_path / "site"
    subprocess.run(
        [*run, "pip", "install", "--no-deps", "--no-index", "--target", site, wheel], check=True, capture_output=True
    )
    names = sorted(SHIPPED)
    program = f"import sys; sys.path.insert(0, {str(site)!r})\nfrom eventsnn.datasets import data_path\n"
    program += f"for name in {names!r}: print(data_path(name))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str((site / "eventsnn" / "_data" / name).resolve()) for name in names]
