"""What a job's environment shows of passwords, and where they go instead."""

from pathlib import Path

import pytest

from piip_search.api.job_secrets import JobEnvironment, job_environment, public_url
from piip_search.errors import UserError
from piip_search.owner import Owner
from piip_search.secret_file import read_secrets

ALICE = Owner("alice", "laptop")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/piip", "postgresql://me@host:5432/piip"),
        ("postgresql://me:a/b:c@host/piip?sslmode=require", "postgresql://me@host/piip?sslmode=require"),
        ("postgresql://host/piip?user=me&password=pw", "postgresql://host/piip?user=me"),
        ("postgresql://me@host/piip?sslkey=k&sslpassword=pw", "postgresql://me@host/piip?sslkey=k"),
        ("http://me:p@w@mlflow:5000/a?b=c", "http://me@mlflow:5000/a?b=c"),
        ("https://mlflow/?token=x&b=c", "https://mlflow/?b=c"),
        ("postgresql://me:pw@host:port/piip", None),
        ("http://[me:pw@host", None),
        ("postgresql://?service=piip", "postgresql://?service=piip"),
        ("sqlite:////shared/ledger.db", "sqlite:////shared/ledger.db"),
        ("none", "none"),
    ],
)
def test_a_url_is_shown_without_password(url: str, shown: str | None) -> None:
    assert public_url(url) == shown


def test_only_what_is_no_secret_is_public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    ledger = "postgresql://me:pw@host/piip"
    found = job_environment(("HF_TOKEN", "OMP_NUM_THREADS"), ledger, "http://mlflow:5000", ALICE)
    assert found.public == {
        "PIIP_SEARCH_OWNER": "alice@laptop",
        "OMP_NUM_THREADS": "4",
        "PIIP_SEARCH_LEDGER": "postgresql://me@host/piip",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    assert found.secret == {"HF_TOKEN": "hf_x", "PIIP_SEARCH_LEDGER": ledger}
    sent = found.with_file(tmp_path / "home", "coco", ALICE, None)
    file = tmp_path / "home" / ".secrets-alice" / "coco.env"
    assert sent == {**found.public, "PIIP_SEARCH_SECRETS": str(file)}
    assert read_secrets(file) == found.secret


def test_without_secrets_no_file_is_written(tmp_path: Path) -> None:
    assert JobEnvironment({"A": "b"}).with_file(tmp_path / "home", "coco", ALICE, None) == {"A": "b"}
    assert not (tmp_path / "home").exists()


def test_a_home_of_other_machines_takes_no_secret() -> None:
    found = JobEnvironment({}, {"PIIP_SEARCH_LEDGER": "postgresql://me:pw@host/piip"})
    with pytest.raises(UserError, match="/nowhere/runs is not on storage of this machine") as caught:
        found.with_file(Path("/nowhere/runs"), "coco", ALICE, None)
    for way_out in ("pgpass", "?service=", "Kubernetes secret", "--secrets PATH"):
        assert way_out in str(caught.value)
    assert "pw" not in str(caught.value).replace("pgpass", "")
    named = found.with_file(Path("/nowhere/runs"), "coco", ALICE, Path("/shared/me.env"))
    assert named == {"PIIP_SEARCH_SECRETS": "/shared/me.env"}
