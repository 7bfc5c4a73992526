"""The PIIP network: one class for any number of branches (arXiv 2501.07783).

Legend: B images, C channels, H W pixels or grid of tokens, N tokens, K classes or prefix tokens.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from piip_search.architecture import Architecture, Branch
from piip_search.architecture.backbones import ConvNeXt
from piip_search.architecture.segments import KEEPS_PREFIX, interaction_ranges, interaction_stages, seen_side
from piip_search.cost import OUTPUTS
from piip_search.errors import DesignError
from piip_search.models.convnext import ConvNeXtBranch
from piip_search.models.interaction import Injector, InteractionUnit
from piip_search.models.kernels.sampling import TokenGrid, grid_of
from piip_search.models.kernels.streams import BranchStream, fork, join, streams_of
from piip_search.models.merge import BranchMerge, LogitMerge, TokenMerge
from piip_search.models.vit import VisionTransformer

COMPILED_SIZES = 4
"""Most batch sizes with compiled training steps: each needs graphs of its own."""
GRAPHS = 128
"""Most compiled graphs for one kind of part: kinds of blocks, or pairs of widths, times sizes."""


class PIIP(nn.Module):
    """Branches at their own image sizes, interactions between neighbours, and a merge.

    Attributes:
        architecture: Architecture of the network.
        branches: One backbone a branch, the largest model first.
        interactions: For each interaction one unit a pair of neighbours, the pair of the largest models first.
        merges: Modules that merge the branches, one for each returned map; none if a single map is returned unmerged.
    """

    def __init__(
        self,
        architecture: Architecture,
        drop_path: Sequence[float] | None = None,
        interaction_drop_path: float = 0.4,
        checkpointing: bool = False,
        outputs: int | None = None,
    ) -> None:
        """Builds the network with random weights.

        Args:
            architecture: Architecture to build.
            drop_path: Drop-path rate of each branch; none by default. DeiT's ViTs have it in all blocks; others reach
                it in the last block, as in the authors' classes (`Transformer.drop_paths`).
            interaction_drop_path: Drop-path rate of the interactions' FFNs.
            checkpointing: Whether training saves only the inputs of blocks and interactions, and runs them again in the
                backward pass.
            outputs: Class scores of the merge `logits`, or channels of a token of the merge `tokens`; 1000 and 4096 by
                default (`piip_search.cost.OUTPUTS`).

        Raises:
            DesignError: The numbers of rates and branches differ, a rate lies outside [0, 1), or the merge has no
                outputs to count.
        """
        super().__init__()
        parts, interaction = architecture.branches, architecture.interaction
        rates = tuple(drop_path) if drop_path is not None else (0.0,) * len(parts)
        if len(rates) != len(parts):
            raise DesignError(f"drop_path takes one rate a branch: {len(parts)}, got {len(rates)}")
        for rate in (*rates, interaction_drop_path):
            if not 0 <= rate < 1:
                raise DesignError(f"drop-path rates must lie in [0, 1), got {rate}")
        keeps = architecture.merge in KEEPS_PREFIX
        stages = [interaction_stages(part.model, architecture.stretches) for part in parts]
        self.architecture = architecture
        self.branches = nn.ModuleList(_branch(part, rate, keeps) for part, rate in zip(parts, rates, strict=True))
        self.interactions = nn.ModuleList(
            nn.ModuleList(
                InteractionUnit(large[step].width, small[step].width, interaction, step, interaction_drop_path)
                for large, small in itertools.pairwise(stages)
            )
            for step in range(interaction.count)
        )
        self.merges = nn.ModuleList(_merges(architecture, outputs))
        self.checkpointing = checkpointing
        self._compiled: set[torch.Size] | None = None
        # Plain numbers, which are cheap to read for compilers.
        self._merge, self._taps, self._whole = architecture.merge, architecture.taps, architecture.resolution
        self._scales = [(part.resolution, part.model.patch) for part in parts]
        self._ranges = [interaction_ranges(part.model, architecture.stretches) for part in parts]

    def compile_parts(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compiles the kernels of training steps by `torch.compile`, for each of the first few batch sizes.

        Parts are compiled instead of the network. The blocks of a branch are alike, and so are the interactions of a
        pair, so that a few graphs suffice for all; a graph of the whole network would compile each separately. Other
        sizes and inference run normally.

        Args:
            backend: Backend of `torch.compile`.
        """
        from torch._dynamo import config  # imports the compiler, which takes seconds

        # Graphs of all branches, widths and sizes are counted together; beyond the limit, parts would run uncompiled.
        config.recompile_limit = max(config.recompile_limit, GRAPHS)
        self._compiled = set()
        for branch in self.branches:
            cast(VisionTransformer | ConvNeXtBranch, branch).compile_blocks(backend)
        for module in self.modules():
            if isinstance(module, Injector):
                module.compile(backend=backend, dynamic=False)
            elif isinstance(module, BranchMerge):
                module.compile_merge(backend)

    def forward(self, image_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The result of the merge.

        `conv`, `linear`: a map, shape (B, width of the first branch, H / patch, W / patch). `pyramid`: four such maps
        at the widths and strides of `Architecture.merged`. `logits`: shape (B, K). `tokens`: shape (B, N, C).

        Args:
            image_BCHW: Images at the output branch's size or any other whole number of patches.

        Raises:
            DesignError: The images are smaller than a patch.
        """
        if self._compiled is None:
            return self._merged(image_BCHW)
        with torch.compiler.set_stance(self._stance(self._compiled, image_BCHW)):
            return self._merged(image_BCHW)

    def _stance(self, compiled: set[torch.Size], image_BCHW: Tensor) -> str:
        """Whether parts are compiled for this batch: only in training, and for the first few sizes."""
        if not self.training or not torch.is_grad_enabled():
            return "force_eager"
        if len(compiled) < COMPILED_SIZES:
            compiled.add(image_BCHW.shape)
        return "default" if image_BCHW.shape in compiled else "force_eager"

    def _merged(self, image_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        taps, prefixes = self.forward_branches(image_BCHW)
        if self._merge == "logits":
            logits_BK: Tensor = self.merges[0](taps[-1], prefixes)
            return logits_BK
        # A single branch is not merged: its own maps are the result, except for a language model's projector.
        maps = [m(tap) for m, tap in zip(self.merges, taps, strict=True)] if len(self.merges) else [t[0] for t in taps]
        return tuple(maps) if self._merge == "pyramid" else maps[0]

    def forward_branches(self, image_BCHW: Tensor) -> tuple[list[tuple[Tensor, ...]], list[Tensor | None]]:
        """One map a branch before each merge, of shape (B, C, H, W) on its own grid; and prefix tokens at the end."""
        branches: list[Any] = list(self.branches)
        streams = streams_of(image_BCHW, len(branches))
        fork(streams, [image_BCHW])
        tokens: list[Tensor] = []
        prefixes: list[Tensor | None] = []
        for index, branch in enumerate(branches):
            with streams[index]():
                x_BHWC, prefix_BKC = branch.embed(self._resized(image_BCHW, index))
            tokens.append(x_BHWC)
            prefixes.append(prefix_BKC)
        del x_BHWC, prefix_BKC
        taps: list[tuple[Tensor, ...]] = []
        grids: dict[tuple[int, int, int], TokenGrid] = {}
        for step in range(len(self._ranges[0])):
            for index, branch in enumerate(branches):
                with streams[index]():
                    for blocks in self._runs(self._ranges[index][step]):
                        tokens[index], prefixes[index] = self._call(branch.run, tokens[index], prefixes[index], blocks)
            if len(self.interactions):
                self._interact(tokens, step, grids, streams)
            if step in self._taps:
                taps.append(tuple(x_BHWC.permute(0, 3, 1, 2) for x_BHWC in tokens))
        join(streams, [*itertools.chain(*taps), *prefixes])
        return taps, prefixes

    def _interact(
        self, tokens: list[Tensor], step: int, grids: dict[tuple[int, int, int], TokenGrid], streams: list[BranchStream]
    ) -> None:
        """Runs all interactions of a step, the pair with the smallest models first, so that details travel down.

        Args:
            tokens: Tokens of each branch; replaced.
            step: Index of the interaction, from 0.
            grids: Known grids, by branch and sides; new ones are added.
            streams: Stream of each branch.
        """
        places = []
        for index, x_BHWC in enumerate(tokens):
            key = (index, x_BHWC.shape[1], x_BHWC.shape[2])
            if key not in grids:
                with streams[index]():
                    grids[key] = grid_of(x_BHWC)
            places.append(grids[key])
        units = cast(nn.ModuleList, self.interactions[step])
        for pair in reversed(range(len(units))):
            two = slice(pair, pair + 2)
            tokens[two] = self._call(units[pair], *tokens[two], tuple(places[two]), tuple(streams[two]))

    def _runs(self, blocks: range) -> list[range]:
        """Groups of blocks that run together: single blocks if their inputs are checkpointed."""
        return [range(block, block + 1) for block in blocks] if self._recomputes else [blocks]

    def _call(self, function: Any, *inputs: Any) -> Any:
        return checkpoint(function, *inputs, use_reentrant=False) if self._recomputes else function(*inputs)

    @property
    def _recomputes(self) -> bool:
        return self.checkpointing and self.training and torch.is_grad_enabled()

    def _resized(self, image_BCHW: Tensor, index: int) -> Tensor:
        """The image at a branch's size, in whole patches."""
        resolution, patch = self._scales[index]
        height, width = map(int, image_BCHW.shape[-2:])  # tracers give sizes as tensors
        if resolution == self._whole:
            if min(height, width) < patch:
                raise DesignError(f"an image needs at least one patch of {patch} px, got {height}x{width}; pad it")
            return image_BCHW
        sides = tuple(seen_side(length, resolution, self._whole, patch) for length in (height, width))
        return F.interpolate(image_BCHW, sides, mode="bilinear", align_corners=False)


def _branch(part: Branch, drop_path: float, keeps_prefix: bool) -> nn.Module:
    if isinstance(part.model, ConvNeXt):
        return ConvNeXtBranch(part, drop_path)
    return VisionTransformer(part, drop_path, keeps_prefix)


def _merges(architecture: Architecture, outputs: int | None) -> list[nn.Module]:
    merge = architecture.merge
    if merge in OUTPUTS:
        kind = LogitMerge if merge == "logits" else TokenMerge
        return [kind(architecture, outputs or OUTPUTS[merge])]
    if outputs is not None:
        raise DesignError(f"the merge {merge} gives maps, which have no outputs to count, got {outputs}; leave it out")
    return [BranchMerge(architecture, tap) for tap in architecture.taps] if len(architecture.branches) > 1 else []
