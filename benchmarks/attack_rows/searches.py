"""The search of all rows: tiny designs, in which nothing is trained."""

from typing import Any

RECIPE = "recipe"
SPEC: dict[str, Any] = {
    "name": "small",
    "sampler": "random",
    "space": {
        "backbones": ["vit_micro", "vit_nano", "vit_pico"],
        "resolutions": [32, 64, 96, 128],
        "windows": ["global", 4],
        "interactions": [0, 1, 2],
        "branches": [1, 2, 3],
    },
    "limit": {"gmacs": [0.02, 0.06], "convention": "backbone"},
    "budget": {"trials": 12},
    "data": {"embedded": "digits"},
}
