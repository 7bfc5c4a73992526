"""Documentation says what is so: every command and option in it exists, and every field of a space is explained."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from piip_search.config import SearchSpec
from support import ROOT
from support.commands import problems_of

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def lines_of(page: Path) -> Iterator[str]:
    """Lines of its shell blocks, those that go on joined, and of its inline code."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    without = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (code for code in re.findall(r"`((?:piip-search|ray) [^`]+)`", without))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "log.md"], ids=lambda page: page.name)
def test_every_command_and_option_in_it_exists(page: Path) -> None:
    problems = [problem for line in lines_of(page) for problem in problems_of(line)]
    assert problems == []


def test_an_option_that_is_not_there_is_found() -> None:
    assert problems_of("piip-search run coco --adress auto") == [
        "piip-search run coco --adress auto: no option --adress"
    ]
    assert problems_of("cd x && piip-search rum coco") == ["piip-search rum coco: no command rum"]
    assert problems_of("piip-search ledger export -o x.csv && piip-search train x -- a=b --not-ours") == []


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind, f"{prefix}{name}.")


def held(content: Any, prefix: str = "") -> Iterator[str]:
    for name, value in content.items() if isinstance(content, dict) else ():
        yield f"{prefix}{name}"
        yield from held(value, f"{prefix}{name}.")


def test_the_coco_space_explains_every_field() -> None:
    text = (ROOT / "search_spaces" / "coco.yaml").read_text(encoding="utf-8")
    shown = set(held(yaml.safe_load(text)))
    # What stands in the place of others is told in their comment.
    explained = {field for field in fields_of(SearchSpec) if f"{field.rpartition('.')[2]}:" in text}
    assert set(fields_of(SearchSpec)) - shown - explained == set()
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if re.match(r" {2}\w+:", line) and not line.startswith("  train:") and not line.startswith("  val:"):
            above = lines[index - 1].strip()
            assert above.startswith("#") or re.match(r"\w+:", above), f"{line} is not explained"


def python_blocks() -> list[Any]:
    """Every block of Python in the documentation, with its page and line."""
    found = []
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(?:python|py)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("block", python_blocks())
def test_every_block_of_python_runs_and_gives_what_it_says(block: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_block(block) == []


def run_block(block: str) -> list[str]:
    """Runs a block, statement by statement; names those whose comment is another value than theirs."""
    names: dict[str, Any] = {}
    wrong = []
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        code = ast.get_source_segment(block, statement) or ""
        if not isinstance(statement, ast.Expr):
            exec(code, names)  # the documentation is what is tested
            continue
        value = eval(code, names)
        comment = lines[(statement.end_lineno or 1) - 1].partition("  # ")[2]
        try:
            said = ast.literal_eval(comment)
        except (ValueError, SyntaxError):
            continue  # it says in words what comes out
        if value != said:
            wrong.append(f"{code} is {value!r}, not {said!r}")
    return wrong


def test_a_block_that_does_not_run_or_says_something_else_is_found() -> None:
    assert run_block("x = 2\nx + 1  # 3\nx  # a number\n") == []
    assert run_block("x = 2\nx + 1  # 4\n") == ["x + 1 is 3, not 4"]
    with pytest.raises(NameError):
        run_block("len(space)  # 3\n")
