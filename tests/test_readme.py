"""What README.md and docs/ promise: their Python runs, their commands and files exist."""

import re
import shlex
from pathlib import Path

import pytest

from eventsnn.cli.main import _parser
from eventsnn.experiments.config import list_configs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: before a block that needs what the page's first block, and others that go on from it, have defined
GOES_ON = "<!-- goes on -->\n"


def blocks(language):
    """Every block, with those before it that it needs."""
    found = []
    for page in PAGES:
        text, chain = page.read_text(), ""
        for number, block in enumerate(BLOCK.finditer(text)):
            if block[1] != language:
                continue
            code = block[2]
            if not chain or text[: block.start()].endswith(GOES_ON):
                chain += code
                code = chain
            found.append(pytest.param(code, id=f"{page.stem}-{number}"))
    return found


def exists(what, page):
    return (page.parent / what.partition("#")[0]).exists()


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code):
    scope = {}
    exec(compile(code, "README", "exec"), scope)
    if "trainer" in scope:
        # 10 epochs reach 90 %; chance is 33 %
        assert scope["trainer"].evaluate(scope["data"].test).accuracy > 0.8


def test_readme_example_is_short():
    example = next(code for language, code in BLOCK.findall((ROOT / "README.md").read_text()) if language == "python")
    assert len([line for line in example.splitlines() if line and not line.startswith(("import", "from"))]) <= 10


def test_readme_gives_the_test_command_once():
    """.ci/run takes it from there."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len([line for line in lines if re.match(r"pip install .*python -m pytest", line)]) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert [link for link in links if not link.startswith("http") and not exists(link, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_files_exist(page):
    named = re.findall(r"`((?:eventsnn|tests|benchmarks|data|docs)/[\w./]+\.\w+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_commands_are_those_of_the_command_line():
    text = (ROOT / "README.md").read_text()
    (commands,) = (action.choices for action in _parser()._actions if action.choices)
    assert set(re.findall(r"^\| `eventsnn ([\w-]+)", text, re.MULTILINE)) == set(commands)
    for command in re.findall(r"`(eventsnn train [^`A-Z]+)`", text):
        options = _parser().parse_args(shlex.split(command)[1:])
        assert options.config in list_configs()
