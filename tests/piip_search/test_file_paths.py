"""Paths as people write them, in space files, options and the environment."""

import inspect
import pwd
import shlex
import shutil
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
import yaml
from typer.core import TyperArgument, TyperOption

from piip_search.config import SpecError, load_spec, parse_spec, space_file
from piip_search.file_paths import escaped, escaped_url, expanded, expanded_url, located, typed_path, typed_url
from support.commands import every_command
from support.small_ledger import Fill
from support.typed import Cli

HERE = {"HOME": "/home/ada", "DATA": "/data", "_x1": "deep", "EMPTY": ""}


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$DATA/a", "/data/a"),
        ("${DATA}/a", "/data/a"),
        ("a/$_x1/b", "a/deep/b"),
        ("a/${_x1}y", "a/deepy"),
        ("$DATA$_x1", "/datadeep"),
        ("a$$b", "a$b"),
        ("a$$DATA", "a$DATA"),
        ("a$", "a$"),
        ("a$-b", "a$-b"),
        ("a b/ü", "a b/ü"),
        ("", ""),
        ("a~b", "a~b"),
        ("a/~", "a/~"),
        ("/x/y", "/x/y"),
    ],
)
def test_variables_are_replaced(text: str, path: str) -> None:
    assert expanded(text, HERE) == path


def test_home_folders_are_replaced(tmp_path: Path) -> None:
    user = pwd.getpwuid(0)
    assert expanded("~") == str(tmp_path)
    assert expanded("~/a/$HOME", {"HOME": "x"}) == f"{tmp_path}/a/x"
    assert expanded(f"~{user.pw_name}/a") == f"{user.pw_dir}/a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$NOWHERE/a", r"the variable NOWHERE is not set, in '\$NOWHERE/a'; set it, or write \$\$ for a dollar sign"),
        ("${NOWHERE}", "the variable NOWHERE is not set"),
        ("$EMPTY/a", "the variable EMPTY is empty"),
        ("${a b}", "the variable a b is not set"),
        ("~nobodyofthatname/a", "there is no user 'nobodyofthatname' on this machine"),
        ("~nobodyofthatname/a", "or ./~nobodyofthatname/a for a folder of that name"),
        ("a\udcff", r"'a\\udcff': names of files and folders must be UTF-8; rename it"),
    ],
)
def test_what_is_not_there_is_an_error_with_its_name(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expanded(text, HERE)


@pytest.mark.parametrize("text", ["a", "$a$$b", "${x}", "~", "~root/a", "a$"])
def test_a_path_that_is_escaped_is_left_as_it_is(text: str) -> None:
    assert Path(expanded(escaped(text), HERE)) == Path(text)
    url = f"sqlite:///{text}?timeout=$1"
    assert Path(expanded_url(escaped_url(url)).removeprefix("sqlite:///")) == Path(f"{text}?timeout=$1")
    assert expanded_url(escaped_url("postgresql://ada:pa$$@db/x")) == "postgresql://ada:pa$$@db/x"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sqlite:///~/x.db", "sqlite:///{}/x.db"),
        ("sqlite:///$HOME/x.db?timeout=$1", "sqlite:///{}/x.db?timeout=$1"),
        ("sqlite+pysqlite:///${HOME}/x.db", "sqlite+pysqlite:///{}/x.db"),
        ("~/x.db", "{}/x.db"),
        ("sqlite://", "sqlite://"),
        ("none", "none"),
        ("postgresql://ada:pa$HOME@db/x", "postgresql://ada:pa$HOME@db/x"),
        ("http://mlflow:5000/~ada", "http://mlflow:5000/~ada"),
    ],
)
def test_of_a_url_the_path_of_a_file_is_replaced(text: str, url: str, tmp_path: Path) -> None:
    assert expanded_url(text) == url.format(tmp_path)


def test_a_relative_path_is_shown_with_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("a/b") == f"a/b ({tmp_path}/a/b: a relative path starts at the current folder)"
    assert located(tmp_path / "a") == f"{tmp_path}/a"


CONTENT: dict[str, Any] = {
    "name": "mine",
    "space": {"backbones": ["vit_pico"], "resolutions": [64, 96]},
    "limit": {"gmacs": [0.1]},
    "data": {
        "root": "~/data",
        "train": {"images": "$PART/train", "annotations": "${PART}/train.json"},
        "val": {"images": "~/val", "annotations": "val.json"},
    },
    "training": {"pretrained": "$HOME/weights", "detector": "~/own.py"},
    "baselines": ["~/other.py@64", "vit_pico@64:g"],
}


def test_every_path_of_a_space_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PART", "part")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(CONTENT), encoding="utf-8")
    spec = load_spec(file)
    data = spec.data
    assert data.root == tmp_path / "data"
    assert data.train is not None
    assert data.val is not None
    assert (data.train.images, data.train.annotations) == (Path("part/train"), Path("part/train.json"))
    assert (data.val.images, data.val.annotations) == (tmp_path / "val", Path("val.json"))
    assert (spec.training.pretrained, spec.training.detector) == (f"{tmp_path}/weights", f"{tmp_path}/own.py")
    assert spec.baselines == (f"{tmp_path}/other.py@64", "vit_pico@64:g")
    # A file that is written from a run asks the same question, a dollar sign in a path included.
    for root in ("~b", "/a$b/c"):
        kept = spec.model_dump(mode="json") | {"data": CONTENT["data"] | {"root": root}}
        file.write_text(space_file(kept), encoding="utf-8")
        assert str(load_spec(file).data.root) == root
    assert str(parse_spec(kept).data.root) == "/a$b/c", "what a ledger holds is no file of a person's"


def test_a_folder_may_have_the_name_of_a_home_folder_or_a_variable(
    run_cli: Cli, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill().close()
    for name in ("~", "$HOME", "~root $HOME"):
        shutil.copytree(tmp_path / "runs", tmp_path / name)
        home = shlex.split(typed_path(Path(name)))[0]
        url = shlex.split(typed_url(f"sqlite:///./{name}/ledger.db"))[0]
        assert run_cli("show", "-q", "--home", home).out == "small\n"
        assert run_cli("show", "-q", f"--ledger={url}").out == "small\n"
        monkeypatch.setenv("PIIP_SEARCH_HOME", home)
        assert run_cli("show", "-q").out == "small\n"
        monkeypatch.delenv("PIIP_SEARCH_HOME")


def test_all_that_cannot_be_replaced_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(CONTENT | {"seed": -1, "training": {"pretrained": "~nobodyofthatname"}}), encoding="utf-8"
    )
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    places = [line.partition(":")[0] for line in caught.value.problems]
    assert places == ["data.train.images", "data.train.annotations", "training.pretrained", "seed"]


def options_that_are_paths() -> list[Any]:
    """Of every command those whose value is a path or a URL of a store: the words of the command, and the option."""
    return [
        pytest.param(words, parameter.opts[0], id=" ".join([*words, parameter.opts[0]]))
        for words, command in every_command()
        for parameter in command.params
        if isinstance(parameter, TyperOption)
        and (Path in get_args(kind_of(command, parameter)) or parameter.opts[0] in ("--ledger", "--mlflow", "--space"))
    ]


def kind_of(command: Any, parameter: Any) -> Any:
    kind = get_type_hints(inspect.unwrap(command.callback)).get(parameter.name)
    return kind if get_args(kind) else Literal[kind]


@pytest.mark.parametrize(("words", "option"), options_that_are_paths())
def test_every_option_that_is_a_path_says_which_variable_is_missing(
    run_cli: Cli, words: list[str], option: str
) -> None:
    command = next(command for name, command in every_command() if name == words)
    arguments = ["x" for parameter in command.params if isinstance(parameter, TyperArgument)]
    needed = [
        word
        for parameter in command.params
        if isinstance(parameter, TyperOption) and parameter.required and parameter.opts[0] != option
        for word in (parameter.opts[0], "x")
    ]
    ended = run_cli(*words, *arguments, *needed, option, "$NOWHERE/x")
    assert (ended.code, "the variable NOWHERE is not set" in ended.err) == (2, True), ended


@pytest.mark.parametrize(
    "words",
    [
        ["run", "$NOWHERE/x.yaml"],
        ["train", "$NOWHERE"],
        ["dashboard", "$NOWHERE"],
        ["plan", "$NOWHERE"],
        ["ledger", "merge", "$NOWHERE/x.db"],
    ],
)
def test_so_does_every_argument(run_cli: Cli, words: list[str]) -> None:
    ended = run_cli(*words)
    assert (ended.code, "the variable NOWHERE is not set" in ended.err) == (2, True)


def test_the_home_of_the_environment_may_have_variables(
    run_cli: Cli, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill().close()
    monkeypatch.setenv("PIIP_SEARCH_HOME", "~/runs")
    assert run_cli("show", "-q").out == "small\n"
    monkeypatch.delenv("PIIP_SEARCH_HOME")
    monkeypatch.setenv("PIIP_SEARCH_LEDGER", "sqlite:///$HOME/runs/ledger.db")
    assert run_cli("show", "-q").out == "small\n"
    monkeypatch.delenv("PIIP_SEARCH_LEDGER")
    assert run_cli("show", "-q", "--home=${HOME}/runs").out == "small\n"


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["show", "--home", "no/home"], "no/home/ledger.db"),
        (["plan", "no.yaml"], "no.yaml"),
        (["train", "no/export"], "no/export"),
        (["ledger", "merge", "no.db"], "no.db"),
        (["simulate", "quickstart", "--table", "no.csv"], "no.csv"),
        (["dashboard", "no.db"], "no.db"),
        (["submit", "quickstart", "--working-dir", "no/dir", "--home", "/runs"], "no/dir"),
    ],
)
def test_a_relative_path_that_is_not_there_is_said_whole(
    run_cli: Cli, tmp_path: Path, words: list[str], path: str
) -> None:
    if words[0] == "dashboard":
        pytest.importorskip("uvicorn")
    ended = run_cli(*words)
    assert ended.code == 2
    assert f"{path} ({tmp_path}/{path}: a relative path starts at the current folder)" in ended.err


def test_relative_files_of_a_space_are_said_whole(run_cli: Cli, tmp_path: Path) -> None:
    content = CONTENT | {"data": {"embedded": "digits"}, "training": {"pretrained": "weights"}}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(content | {"space": CONTENT["space"] | {"backbones": ["vit_t"]}, "limit": {"gmacs": [10]}}),
        encoding="utf-8",
    )
    ended = run_cli("run", "mine.yaml")
    assert f"no weights of vit_t in weights ({tmp_path}/weights: a relative path starts at" in ended.err


def test_init_and_export_say_where_they_would_write(run_cli: Cli, tmp_path: Path, finished: list[str]) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "coco.yaml").touch()
    assert f"spaces/coco.yaml ({tmp_path}/spaces/coco.yaml: a relative" in run_cli("init", "coco").err
    ended = run_cli("init", "coco", "--to", "spaces/coco.yaml")
    assert (ended.code, "is a file; name a folder with --to" in ended.err) == (2, True)
