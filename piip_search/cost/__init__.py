"""The cost of an architecture in closed form, before anything is built.

One multiply-accumulate (MAC) is counted once; the PIIP papers call it a FLOP. Three conventions:

`published` is the convention of the tables in the PIIP papers, for a square image. ViT networks are counted as their
classification class: one linear layer a branch where detection really merges by convolutions, windows without padding,
and a 1000-way head. Networks with ConvNeXts are counted with the convolutions that merge them, and vision towers of
language models without projector. Biases of convolutions count, and two operations per value of a layer or group norm.
Left out: activations, softmax, residual sums, resizing, root-mean-square norms, layer norms of ConvNeXts.

`backbone` counts the network that runs and trains: the chosen merge, attention over whole windows, and every matrix
product, convolution, attention product and bilinear sample. Left out: biases, norms, activations, softmax, residual
sums, resizing, and the layers after the merged map.

`whole` adds the layers of a task that read the merge's outputs, such as a pyramid, neck and head.

All are sums over branches, over pairs of neighbours, and over merges. So a search space can price all its designs
together.
"""

from piip_search.cost.axes import AXES as AXES
from piip_search.cost.axes import NOMINAL as NOMINAL
from piip_search.cost.axes import CostAxis as CostAxis
from piip_search.cost.axes import CostLabel as CostLabel
from piip_search.cost.axes import Pricing as Pricing
from piip_search.cost.branch import backbone_parts as backbone_parts
from piip_search.cost.conventions import CONVENTIONS as CONVENTIONS
from piip_search.cost.conventions import IMAGENET_CLASSES as IMAGENET_CLASSES
from piip_search.cost.conventions import OUTPUTS as OUTPUTS
from piip_search.cost.conventions import Convention as Convention
from piip_search.cost.conventions import Cost as Cost
from piip_search.cost.conventions import CountingRules as CountingRules
from piip_search.cost.conventions import Grid as Grid
from piip_search.cost.conventions import Part as Part
from piip_search.cost.conventions import rules_for as rules_for
from piip_search.cost.head import Head as Head
from piip_search.cost.head import MergedMaps as MergedMaps
from piip_search.cost.interaction import exchange_parts as exchange_parts
from piip_search.cost.memory import Memory as Memory
from piip_search.cost.memory import block_values as block_values
from piip_search.cost.memory import branch_inputs as branch_inputs
from piip_search.cost.memory import exchange_inputs as exchange_inputs
from piip_search.cost.memory import pooled_inputs as pooled_inputs
from piip_search.cost.merge import joining_cost as joining_cost
from piip_search.cost.merge import merges as merges
from piip_search.cost.merge import published_head_cost as published_head_cost
from piip_search.cost.price import breakdown as breakdown
from piip_search.cost.price import conventions_of as conventions_of
from piip_search.cost.price import memory as memory
from piip_search.cost.price import price as price
from piip_search.cost.price import training_bytes as training_bytes
from piip_search.cost.pyramid import pyramid_grids as pyramid_grids
from piip_search.cost.pyramid import pyramid_live_values as pyramid_live_values
from piip_search.cost.pyramid import pyramid_part as pyramid_part
from piip_search.cost.pyramid import pyramid_widths as pyramid_widths
from piip_search.cost.training_step import Step as Step
from piip_search.cost.training_step import kept_by_checkpoints as kept_by_checkpoints
