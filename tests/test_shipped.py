import hashlib
from pathlib import Path

import pytest

from eventsnn import _shipped
from eventsnn.datasets import data_path
from eventsnn.errors import DataError

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package folder of its own, as _shipped.py sees it, and a shipped file `a.npz` with content b'abc'."""
    folder = tmp_path / "site" / "eventsnn"
    folder.mkdir(parents=True)
    monkeypatch.setattr(_shipped, "__file__", str(folder / "_shipped.py"))
    monkeypatch.setattr(_shipped, "SHIPPED", {"a.npz": hashlib.sha256(b"abc").hexdigest()})
    return folder


def put(folder, content=b"abc"):
    folder.mkdir(exist_ok=True)
    (folder / "a.npz").write_bytes(content)
    return folder / "a.npz"


@pytest.mark.parametrize("name", sorted(_shipped.SHIPPED))
def test_data_path_finds_every_shipped_file(name):
    assert data_path(name).is_file()


def test_data_readme_lists_every_shipped_file_with_its_sha256():
    readme = (CHECKOUT / "data" / "README.md").read_text()
    present = {path.name for path in (CHECKOUT / "data").iterdir()} - {"README.md"}
    assert present == set(_shipped.SHIPPED)
    for name, sha256 in _shipped.SHIPPED.items():
        assert f"`{name}`" in readme
        assert f"`{sha256}`" in readme


def test_data_path_looks_into_the_wheel_and_then_the_checkout(package):
    in_checkout = put(package.parent / "data")
    assert data_path("a.npz") == in_checkout
    in_wheel = put(package / "_data")
    assert data_path("a.npz") == in_wheel


def test_data_path_refuses_a_missing_file(package):
    with pytest.raises(DataError, match=r"a.npz: missing, looked for .*_data.*reinstall"):
        data_path("a.npz")


def test_data_path_refuses_a_damaged_file_until_it_is_repaired(package):
    put(package / "_data", b"abd")
    with pytest.raises(DataError, match=r"a.npz: damaged, sha256 is .* expected .*reinstall"):
        data_path("a.npz")
    put(package / "_data")
    data_path("a.npz")


def test_data_path_refuses_an_unknown_name():
    with pytest.raises(DataError, match=r"ships no 'mnist', only .*mnist\.npz"):
        data_path("mnist")
