"""Documentation is true and short: commands exist, blocks run, links lead somewhere, sentences are short."""

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

import piip_search
from piip_search.config import SearchSpec
from piip_search.config.load import parse_spec
from piip_search.config.yaml_file import read_yaml
from piip_search.errors import UserError
from support import ROOT
from support.commands import every_command, problems_of
from support.prose import prose_of, together

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LOGS = ["log.md"]
"""Notes of the project, not for users."""
GENERATED = ["reference/cli.md"]
"""Written by a hook whenever the documentation is built."""


def navigation(part: Any) -> Iterator[str]:
    """Pages below a part of the navigation of mkdocs."""
    if isinstance(part, str):
        yield part
    else:
        for inner in part.values() if isinstance(part, dict) else part:
            yield from navigation(inner)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


NAVIGATION = list(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
USER_PAGES = [ROOT / "README.md", *(DOCS / name for name in NAVIGATION if name not in LOGS + GENERATED)]
GUIDE = [page for page in USER_PAGES if page.parent.name in ("guide", "tutorials")]


def lines_of(page: Path) -> Iterator[str]:
    """Lines of its shell blocks, those that go on joined, lines typed in its sessions, and its inline code."""
    text = page.read_text(encoding="utf-8")
    for session in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^\$ (.*)$", session, re.MULTILINE)
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    without = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (code for code in re.findall(r"`((?:piip-search|ray) [^`]+)`", without))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in LOGS], ids=named)
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
            found.append(pytest.param(match[1], id=f"{named(page)}:{line}"))
    return found


@pytest.mark.parametrize("block", python_blocks())
def test_every_block_of_python_runs_and_gives_what_it_says(block: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        assert run_block(block) == []
    except UserError as error:
        if "this needs an extra" not in str(error):
            raise
        pytest.skip(str(error))


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


def test_every_page_is_in_the_navigation() -> None:
    assert sorted(NAVIGATION) == sorted([*GENERATED, *(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))])


def test_the_generated_page_of_commands_has_every_command_and_option() -> None:
    page = cli_reference().page()
    sections = dict(re.findall(r"^## (piip-search [^\n]+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    commands = {" ".join(["piip-search", *words]): command for words, command in every_command()}
    assert list(sections) == list(commands)
    for name, command in commands.items():
        options = [one.opts[0] for one in command.params if one.opts[0].startswith("-")]
        assert [option for option in options if f"`{option}`" not in sections[name]] == [], name


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = [name for name in piip_search.__all__ if not name.startswith("_")]
    assert [name for name in names if f"::: piip_search.{name}\n" not in page] == []


def test_the_page_on_the_architecture_shows_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = next(contract for contract in contracts if contract["id"] == "floors")["layers"]
    rooms = [room for floor in floors for room in re.findall(r"\w+", floor)]
    page, picture = DOCS / "architecture.md", DOCS / "images" / "rooms.svg"
    assert [room for room in rooms if f"`{room}`" not in page.read_text(encoding="utf-8")] == []
    assert [room for room in rooms if f">{room}</text>" not in picture.read_text(encoding="utf-8")] == []


def test_the_generated_page_tells_defaults_choices_and_variables() -> None:
    page = cli_reference().page()
    assert "| `--home` | `runs` |" in page
    assert "One of `ray`, `local`." in page
    assert "Environment: `PIIP_SEARCH_HOME`." in page


def cli_reference() -> Any:
    """The hook of mkdocs that writes the page of commands."""
    place = DOCS / "hooks" / "cli_reference.py"
    spec = importlib.util.spec_from_file_location("cli_reference", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_picture_is_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [picture.name for picture in (DOCS / "images").iterdir() if picture.name not in shown] == []


def test_sentences_of_the_user_documentation_are_short() -> None:
    prose = together(prose_of(page.read_text(encoding="utf-8")) for page in USER_PAGES)
    assert prose.median <= 15
    assert prose.ninetieth <= 28


@pytest.mark.parametrize("page", USER_PAGES, ids=named)
def test_sentences_of_a_page_are_short(page: Path) -> None:
    prose = prose_of(page.read_text(encoding="utf-8"))
    assert prose.median <= 15
    assert prose.ninetieth <= 30


@pytest.mark.parametrize("page", GUIDE, ids=named)
def test_a_page_of_the_guide_shows_what_to_type(page: Path) -> None:
    assert prose_of(page.read_text(encoding="utf-8")).blocks_per_1000_words >= 5


def yaml_blocks() -> list[Any]:
    """Every part of a space file in the documentation."""
    found = []
    for page in PAGES:
        for number, block in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        ):
            found.append(pytest.param(block, id=f"{named(page)}:{number}"))
    return found


@pytest.mark.parametrize("block", yaml_blocks())
def test_every_part_of_a_space_file_is_valid(block: str, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.replace("{...}", "{images: a, annotations: a.json}"), encoding="utf-8")
    content = read_yaml(file)
    base = "quickstart-classification" if content.get("task") == "classification" else "coco"
    whole = read_yaml(ROOT / "search_spaces" / f"{base}.yaml")
    parse_spec(content if "name" in content else merged(whole, content), file)


def merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A whole file with a part of it replaced."""
    if "embedded" in part or "embedded" in whole:
        return part
    both = {key: merged(whole[key], part[key]) for key in part if isinstance(part[key], dict) and whole.get(key)}
    return {**whole, **part, **both}


QUICK = re.compile(r"piip-search (?:init|plan (?:quickstart|coco)|cost|simulate quickstart)\b")
"""Commands that take a second or two and need no data."""


def quick_commands() -> list[Any]:
    """Every quick command that stands alone in a block, the output that the next block shows, and its page's table."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        table = "".join(re.findall(r"^```csv\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:1])
        for match in re.finditer(r"^```sh\n([^\n]+)\n```\n(?:\s*```text\n(.*?)```)?", text, re.DOTALL | re.MULTILINE):
            if QUICK.match(match[1]):
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[1], match[2] or "", table, id=f"{named(page)}:{line}"))
    return found


@pytest.mark.parametrize(("line", "output", "table"), quick_commands())
def test_a_quick_command_prints_what_the_documentation_shows(
    line: str, output: str, table: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert missing_lines(output, printed_by(line)) == []


def test_the_tutorial_on_your_data_prints_what_it_shows(tmp_path: Path, monkeypatch: Any) -> None:
    text = (DOCS / "tutorials" / "your-data.md").read_text(encoding="utf-8")
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "cells.yaml").write_text(
        re.findall(r"```yaml\n(name: cells.*?)```", text, re.DOTALL)[0], encoding="utf-8"
    )
    for part, count in (("train", 32), ("val", 12)):
        file = tmp_path / "data" / "cells" / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        images = [{"id": n, "file_name": f"{n}.jpg", "width": 320, "height": 240} for n in range(count)]
        file.write_text(
            json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "cell"}]}),
            encoding="utf-8",
        )
    line, output = re.findall(r"```sh\n(piip-search plan [^\n]+)\n```\n\n```text\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    assert missing_lines(output, printed_by(line)) == []


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines that are shown and were not printed; spaces between columns do not matter."""
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    return [line for line in shown.splitlines() if " ".join(line.split()) not in lines]


def printed_by(line: str) -> str:
    from typer.testing import CliRunner

    from piip_search.cli.commands import app

    result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert result.exit_code == 0, result.output
    return result.output
