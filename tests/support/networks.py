"""Designs that networks are built of in tests, and the networks."""

import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.models import PIIP

TIGHT = {"rtol": 1e-5, "atol": 1e-6}

DESIGNS = [
    "vit_pico@64:g",
    "vit_nano@96:w4g2",
    "vit_nano@32:g+vit_pico@64:g*0",
    "vit_micro@64:g+vit_nano@96:w4+vit_pico@128:w4g2*4",
    "vit_micro@32:w3+vit_pico@128:g*2/linear",
    "vit_micro@32:w3+vit_pico@128:g*2/residual",
    "vit_micro@64:g+vit_nano@48:g+vit_pico@32:g*1/residual",
    "vit_micro@32:g+vit_nano@96:w2+vit_pico@112:w4*3(heads=8,points=2)",
    "vit_micro@64:g+vit_micro@64:g*1",
    "vit_micro@128:g+vit_nano@64:g+vit_pico@32:w1*2",
    "vit_micro@32:g+vit_micro@48:g+vit_nano@64:g+vit_pico@96:w3*2",
    "vit_micro@32:g+vit_nano@64:w3*2(attention=regular)",
    "vit_micro@32:g+vit_nano@64:g*3(direction=alternating,projection=no,norm=no)",
    "vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*3(attention=regular,direction=to_small,projection=no)",
    "vit_micro@32:g+vit_pico@64:g*1(direction=to_large,norm=no)",
    "convnext_pico@64",
    "convnext_pico@64+vit_nano@96:g*4",
    "vit_w128_d6_h4@64:g+convnext_pico@128*6",
    "vit_micro@64:g+convnext_pico@128*0",
    "vit_micro@64:g+vit_nano@96:w4*4/pyramid",
    "vit_w160_d6_h5@64:w3g2+vit_w96_d6_h3@96:g*5",
]
LABELS = [
    "vit_nano@64:g/logits",
    "vit_micro@64:g+vit_nano@96:g*4/logits",
    "vit_micro@64:g+convnext_pico@96*3/logits",
    "vit_nano@64:g/tokens",
    "vit_micro@32:g+convnext_pico@96*1/tokens",
    "vit_micro@32:g+vit_pico@96:g*2/tokens",
]
"""What they give is no map."""
LARGE = [
    "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
    "vit_l@448:w28+vit_b@672:w28+vit_s@896:w28+vit_t@1344:w28*12",
    "vit_6b@128:g+vit_h@256:w14*12(projection=no,norm=no)",
    "vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12",
    "vit_l@224:g+convnext_l@640*24/tokens",
    "deit3_base_patch16_224.fb_in22k_ft_in1k@224:w7+vit_tiny_patch16_224@448:w14*4",
    "vit_large_patch14_dinov2@448:w14p16+vit_small_patch14_reg4_dinov2@896:w14p16*6",
    "vit_base_patch16_clip_224@224:g/logits",
    "vit_base_patch16_siglip_gap_224@224:g/logits",
    "vit_intern300m_patch14_448@448:gp16/logits",
    "convnext_tiny_hnf@224/logits",
    "beitv2_large_patch16_224@672:w28+beitv2_base_patch16_224@1120:w14g3+vit_s@1568:w14*12",
    "beitv2_base_patch16_224@224:g+vit_s@384:g*12/logits",
]
"""Counted without their weights."""


def network(name: str) -> tuple[PIIP, Tensor]:
    """A network in evaluation mode on no device, and an image of its size."""
    architecture = Architecture.parse(name)
    with torch.device("meta"):
        return PIIP(architecture).eval(), torch.zeros(1, 3, architecture.resolution, architecture.resolution)


def open_gates(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith((".gamma", ".tau")) and "reads" in name:
            nn.init.normal_(parameter, std=0.5)
