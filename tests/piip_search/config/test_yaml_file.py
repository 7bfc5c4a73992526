"""Words of a YAML file, by the core schema of YAML 1.2."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from piip_search.config import SpecError, load_spec, parse_spec
from piip_search.config.yaml_file import read_yaml, write_yaml


def read(text: str, tmp_path: Path) -> Any:
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    return read_yaml(file)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("+1e-3", 0.001),
        ("-1e3", -1000.0),
        ("1e3", 1000.0),
        (".5e1", 5.0),
        ("5.e2", 500.0),
        ("1.5e+10", 1.5e10),
        ("1.", 1.0),
        (".5", 0.5),
        ("+.5", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("0.1", 0.1),
        ("1e400", math.inf),
        ("0", 0),
        ("-3", -3),
        ("+4", 4),
        ("010", 10),
        ("08", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("", None),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("y", "y"),
        ("n", "n"),
        ("tRUE", "tRUE"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("2024-01-02", "2024-01-02"),
        ("1_000", "1_000"),
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("e3", "e3"),
        (".", "."),
        ("-", [None]),
        ("+", "+"),
        ("=", "="),
        ("1e3.5", "1e3.5"),
        ("-0o7", "-0o7"),
        ('"1e-3"', "1e-3"),
        ("'10'", "10"),
    ],
)
def test_a_word_is_what_yaml_1_2_takes_it_for(word: str, value: object, tmp_path: Path) -> None:
    found = read(f"key: {word}\n" if word != "-" else "key:\n  -\n", tmp_path)["key"]
    assert (found, type(found)) == (value, type(value))


def test_words_that_are_keys_stay_words(tmp_path: Path) -> None:
    assert read("on: 1\nno: 2\n1e3: 3\n", tmp_path) == {"on": 1, "no": 2, 1000.0: 3}
    assert read("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 2\n", tmp_path)["more"] == {"a": 1, "b": 2}


def test_not_a_number_is_one(tmp_path: Path) -> None:
    assert math.isnan(read("key: .nan", tmp_path)["key"])


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))
    | st.from_regex(r"[-+.0-9eExob_:~]{1,6}", fullmatch=True)
    | st.sampled_from(["on", "no", "yes", "y", "null", "1e3", "0o17", "1:30", "2024-01-01", "<<", "=", "010"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_what_is_written_is_read_back_by_this_reader_and_by_others(tmp_path_factory: Any, content: Any) -> None:
    text = write_yaml({"key": content})
    assert read(text, tmp_path_factory.mktemp("yaml")) == yaml.safe_load(text) == {"key": content}


SPACE = """
name: words
space: {backbones: [vit_pico], resolutions: [64, 96]}
limit: {gmacs: [1e-1]}
data: {embedded: digits}
"""


def test_numbers_of_a_space_may_be_written_in_any_way(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(
        SPACE + "training: {learning_rate: 1e-3, weight_decay: 5E-2, clip_norm: 1e0, batch_size: 08}\n",
        encoding="utf-8",
    )
    spec = load_spec(file)
    training = spec.training
    assert (training.learning_rate, training.weight_decay, training.clip_norm) == (0.001, 0.05, 1.0)
    assert (training.batch_size, spec.limit.gmacs) == (8, (0.1,))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "training: {colour_jitter: yes}",
            "training.colour_jitter: input should be a valid boolean, got 'yes'; write true, without quotes",
        ),
        ("training: {colour_jitter: 'False'}", "got 'False'; write false, without quotes"),
        ("training: {colour_jitter: perhaps}", "input should be a valid boolean, got 'perhaps'"),
        ("training: {learning_rate: '1e-3'}", "should be a valid number, got '1e-3'; write 0.001, without quotes"),
        ("training: {learning_rate: 1_000}", "got '1_000'; write 1000, without quotes"),
        ("training: {learning_rate: quick}", "input should be a valid number, got 'quick'"),
        ("training: {batch_size: 1e1}", "input should be a valid integer, got 10.0; write 10"),
        ("training: {batch_size: 1_0}", "input should be a valid integer, got '1_0'; write 10"),
        ("training: {batch_size: 1.5}", "training.batch_size: input should be a valid integer"),
    ],
)
def test_a_value_of_another_kind_is_said_with_how_it_is_written(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(f"{SPACE}{line}\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]
    assert caught.value.problems[0].endswith(said) or "1.5" in line


def test_a_name_that_looks_like_a_number_is_said_to_be_one(tmp_path: Path) -> None:
    content = yaml.safe_load(SPACE) | {"limit": {"gmacs": [0.1]}, "name": "1e3"}
    assert parse_spec(content).name == "1e3"
    file = tmp_path / "number.yaml"
    file.write_text(write_yaml(content), encoding="utf-8")
    assert load_spec(file).name == "1e3"
    file.write_text(SPACE.replace("name: words", "name: 1e3"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"name: input should be a valid string, got 1000\.0; put it into quotes"):
        load_spec(file)
