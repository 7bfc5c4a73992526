"""A reason is kept as plain data, and those that earlier versions wrote are read."""

import json

import pytest

from piip_search.evaluation.reason import Reason


@pytest.mark.parametrize(
    "reason",
    [
        Reason(),
        Reason("TPESampler"),
        Reason("promotion", first=0, rung=1),
        Reason("gain", 0.1, 0.01, (0.3, 0.2, 0.4), {0.1: 0.02, 250.0: 0.0}, "of use"),
        Reason("own", rest={"note": "text"}),
    ],
)
def test_a_reason_is_read_back(reason: Reason) -> None:
    assert Reason.from_dict(json.loads(json.dumps(reason.to_dict()))) == reason


def test_what_earlier_versions_wrote_is_read() -> None:
    written = {"source": "gain", "tier": 0.1, "gain": 0.01, "predicted": [0.3, 0.2, 0.4], "left": {"0.1": 0.02}}
    assert Reason.from_dict(written) == Reason("gain", 0.1, 0.01, (0.3, 0.2, 0.4), {0.1: 0.02})
    assert Reason.from_dict(written).to_dict() == written
    assert Reason.from_dict({"source": "start"}).to_dict() == {"source": "start"}
    assert Reason.from_dict({"source": "gain", "left": {}}).left == {}
