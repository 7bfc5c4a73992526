"""mmdet is imported as the workers import it: ready for processes that start at once, as those of pytest-xdist do."""

import importlib.util
import warnings

if all(importlib.util.find_spec(name) for name in ("torch", "mmengine", "mmcv", "mmdet")):
    from piip_workers.openmmlab import install

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mmengine does while it is imported
        install()
