"""Losses of detectors in a process that has joined others."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_loss_counts_the_objects_of_its_own_process_alone(tmp_path: Path) -> None:
    from piip_workers.mmlab.shims import install, losses_of_one_process

    install()
    from mmdet.utils import reduce_mean

    objects = torch.tensor(3.0)
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        assert reduce_mean(objects) is not objects, "it asks the other processes"
        with losses_of_one_process():
            assert reduce_mean(objects) is objects
        assert reduce_mean(objects) is not objects
    finally:
        torch.distributed.destroy_process_group()
