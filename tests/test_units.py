"""Numbers with units are formatted in one place."""

import re
from pathlib import Path

import pytest

from piip_search.units import gibibytes, gigabytes, quantity

UNITS = re.compile(r"\}\s?(?:G|GMACs|MACs|GiB|GB|MiB|MB|M params|M parameters|ms|mJ)\b")
PACKAGES = ("piip_search", "workers", "dashboards")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(570.16, 4, "570.2 GMACs"), (0.06, 6, "0.06 GMACs"), (12345.6, 4, "12,346 GMACs"), (1055, 3, "1,055 GMACs")],
)
def test_a_number_has_its_digits_and_its_unit(value: float, digits: int, text: str) -> None:
    assert quantity(value, "GMACs", digits) == text


def test_bytes_have_units_of_ten_or_of_two() -> None:
    assert (gigabytes(11.08e9), gibibytes(3 * 2**30)) == ("11.1 GB", "3 GiB")
    assert quantity(2.5, "") == "2.5"


def test_no_other_text_puts_a_unit_behind_a_number() -> None:
    root = Path(__file__).parents[1]
    lines = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNITS.search(line) and re.search(r"f[\"']", line)
    ]
    assert lines == []
