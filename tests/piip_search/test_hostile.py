"""Whatever a file holds, it is accepted, or refused in one message that names it: nothing else, and soon."""

import json
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piip_search.config import SpecError, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.redact import without_secrets
from piip_search.space import Choices, SearchSpace
from support import hostile
from support.typed import Cli

FEW = settings(
    max_examples=300,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(chance=st.integers(0, 2**32).map(random.Random))
def test_a_hostile_space_is_refused_in_one_message(tmp_path: Path, chance: random.Random) -> None:
    content = hostile.hostile_space(chance)
    found = hostile.space_outcome(content, tmp_path)
    assert found.kind in ("accepted", "refused"), (found, content[:2000])
    assert len(found.text) < 20_000


@FEW
@given(chance=st.integers(0, 2**32).map(random.Random))
def test_hostile_annotations_are_refused_in_one_message(tmp_path: Path, chance: random.Random) -> None:
    content = hostile.hostile_annotations(chance)
    found = hostile.annotations_outcome(content, tmp_path)
    assert found.kind in ("accepted", "refused"), (found, content[:2000])
    assert len(found.text) < 20_000


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", "line 2, column 1: not YAML: duplicate key 'name'"),
        pytest.param(BOMB, "has more than 20,000 values", id="aliases of aliases"),
        ("a: &a [*a]\n", "has more than 20,000 values, or more than 50 levels"),
        pytest.param("x: " + "[" * 5000 + "]" * 5000, "has more than 50 levels", id="5000 levels"),
        pytest.param("x: " + "9" * 5000, "write numbers and dates plainly", id="5000 digits"),
        ("x: !!timestamp 2024-13-45", "write numbers and dates plainly"),
        ("x: \x00", "not YAML"),
        ("x: !!python/object/apply:os.system ['true']", "not YAML: could not determine a constructor"),
        pytest.param("# " + "x" * 1_000_001, "has 1,000,003 bytes", id="1000003 bytes"),
        ("1: 2\n2: 3\n", "keys should be strings"),
    ],
)
def test_what_yaml_can_do_to_a_reader(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="problem") as caught:
        load_spec(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_space_of_a_trillion_designs_is_counted_at_once() -> None:
    space = SearchSpace(
        Choices(
            backbones=tuple(f"vit_w{width}_d12_h1" for width in range(16, 1616, 16)),
            resolutions=tuple(range(16, 1616, 16)),
            branches=(1, 2, 3, 4),
            pairing="free",
        )
    )
    assert space.combinations > 10**12


@pytest.mark.parametrize("pairing", ["inverted", "equal", "free"])
def test_counting_is_what_listing_gives(pairing: str) -> None:
    names = ("vit_w32_d2_h2", "vit_w32_d3_h2", "vit_w48_d2_h2", "vit_w64_d2_h2", "vit_w64_d4_h2")
    space = SearchSpace(Choices(names, (32, 64), branches=(1, 2, 3, 4), pairing=pairing))  # type: ignore[arg-type]
    for count in (1, 2, 3, 4):
        listed = list(space._model_choices(count))
        assert len(set(listed)) == len(listed) == space._model_count(count)
        assert listed == sorted(listed)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("images", 0, "file_name"), "../two.png", "must be a file in the folder of images"),
        (("images", 0, "file_name"), "/etc/passwd", "must be a file in the folder of images"),
        (("images", 0, "file_name"), "a\x00b", "must be the name of a file"),
        (("images", 0, "height"), 0, "height and width must be 1 to 100000 pixels"),
        (("images", 1, "id"), 1, "images[1].id: is a duplicate; each entry has its own, got 1 as images[0]"),
        (("images", 1, "id"), 10**30, "images[1].id: must be a number of at most 64 bits, got 10000"),
        (("images", 1, "id"), [1], "images[1].id: must be a whole number, got [1]"),
        (
            ("categories", 1, "name"),
            "cell",
            "categories[1].name: is a duplicate; each entry has its own, got cell as categories[0]",
        ),
        (("categories", 1, "name"), "", "must be a printable name"),
        (("categories", 1, "name"), "a\nb", "must be a printable name"),
        (("annotations", 0, "bbox"), [1, 2, float("nan"), 4], "with a positive size"),
        (("annotations", 0, "bbox"), [1, 2, 10**400, 4], "with a positive size"),
        (("annotations", 0, "bbox"), [1, 2, -3, 4], "with a positive size"),
        (("annotations", 0, "area"), [], "must be the object's area in pixels"),
        (("annotations", 0, "iscrowd"), "no", "iscrowd: must be 0 or 1"),
    ],
)
def test_each_fault_of_annotations_has_its_place(
    tmp_path: Path, place: tuple[str, int, str], value: object, message: str
) -> None:
    content = json.loads(json.dumps(hostile.COCO))
    part, index, field = place
    content[part][index][field] = value
    found = hostile.annotations_outcome(json.dumps(content).encode(), tmp_path)
    assert found.kind == "refused"
    assert f"train.json: {part}[{index}]" in found.text
    assert message in found.text


def test_configurations_run_nothing_that_names_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class names and paths of a stranger's, through mmengine's own reader, which fills in braces as text."""
    config = pytest.importorskip("mmengine.config").Config
    from piip_search.export.settings import HERE, render

    monkeypatch.setenv("INJECTED", "'+open('owned','w').write('x')+'")
    names = [
        "{{ $INJECTED:x }}",
        "{{ fileDirname }}",
        "{{fileDirname}}",
        "{{_base_.model}}",
        "'''",
        "a'b\"c\\",
        "new\nline",
        "{{{{",
        "é",
    ]
    settings_ = {"classes": tuple(names), "path": "/data/it's {{ $INJECTED:y }}", "load_from": f"{HERE}/weights.pth"}
    path = tmp_path / "config.py"
    path.write_text(render(settings_, "title", [settings_["load_from"]]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    read = config.fromfile(path)
    assert list(read.classes) == names
    assert read.path == settings_["path"]
    assert read.load_from == f"{tmp_path}/weights.pth"
    assert not (tmp_path / "owned").exists()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("owned"),))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore")
def test_checkpoints_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("mmdet")
    from piip_search.models.weights.pretrained import read_tensors
    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": Bomb()}, tmp_path / "epoch_1.pth")
    assert last_whole_checkpoint(tmp_path, 1) is None
    with pytest.raises(ValueError, match="cannot be read as tensors alone"):
        read_tensors(tmp_path / "epoch_1.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("folder", ["it's", 'quo"te', "{{ $HOME:x }}", "new\nline", "back\\slash"])
def test_an_export_goes_to_a_plain_folder(tmp_path: Path, folder: str) -> None:
    from piip_search.export import prepared_folder

    with pytest.raises(ValueError, match="name one without quotes"), prepared_folder(tmp_path / folder, ()):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
        ("API request to http://me:hunter2@host:5000/api failed", "API request to http://me:***@host:5000/api failed"),
        ("postgresql://host/db?user=me&password=hunter2", "postgresql://host/db?user=me&password=***"),
        ("http://host/?token=hunter2 and more", "http://host/?token=*** and more"),
        ("sqlite:///runs/ledger.db", "sqlite:///runs/ledger.db"),
    ],
)
def test_passwords_and_tokens_are_not_shown(text: str, hidden: str) -> None:
    assert without_secrets(text) == hidden


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "quickstart", "--trials", "99999999999999999999999"],
        ["plan", "quickstart", "--throughput", "nan"],
        ["plan", "quickstart", "--throughput", "inf"],
        ["plan", "quickstart", "--images", "9" * 5000 + ",1"],
        ["cost", "vit_b@" + "9" * 5000 + ":g"],
        ["cost", "vit_w99999999_d99999999_h1@16:g"],
        ["cost", "vit_t@224:w" + "9" * 30],
        ["cost", "vit_t@224:g", "--image", "9999999999x9999999999"],
        ["run", "quickstart", "--name", "a\nb"],
        ["run", "quickstart", "--name", "é" * 10],
        ["run", "quickstart", "--trials", "0"],
        ["run", "quickstart", "--ledger", "mysql+nosuch://me:hunter2@host/x"],
        ["show", "--ledger", "sqlite:////dev/null/x.db"],
        ["show", "--ledger", "sqlite:///a.db?plugin=nosuch"],
        ["show", "--ledger", "postgresql://[bad"],
        ["show", "--ledger", "://"],
        ["show", "--ledger", "postgresql://me:hunter2@127.0.0.1:1/x"],
        ["front", "\x1b[2Jx"],
        ["export", "x", "best<=nanG", "-o", "out"],
        ["simulate", "quickstart", "--table", "/dev/null"],
        ["train", "/"],
        ["init", "../../etc/passwd"],
        ["dashboard", "--port", "99999"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60].encode("unicode_escape").decode(),
)
def test_hostile_arguments_end_with_one_message(run_cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    with hostile.deadline(60):
        ended = run_cli(*arguments)
    assert ended.code in (0, 2), ended.err
    assert "Traceback" not in ended.err
    assert "hunter2" not in ended.out + ended.err
    assert "\x1b[2J" not in ended.out + ended.err
    assert len(ended.err) < 6000


def test_a_password_of_mlflow_is_not_told(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    ended = run_cli("mirror", "x", "--mlflow", "http://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in ended.err


def test_the_shipped_spaces_are_read_as_before() -> None:
    for name in ("coco", "quickstart"):
        content = yaml.safe_load(find_space(name).read_text(encoding="utf-8"))
        assert load_spec(find_space(name)) == parse_spec(content)
