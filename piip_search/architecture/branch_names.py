"""Names of the branches of a design, by what their weights depend on."""

from collections import Counter

from piip_search.architecture.architecture import Architecture


def branch_names(architecture: Architecture) -> list[str]:
    """A name for each branch: backbone and patches, and a number from the second branch of equal ones on."""
    seen: Counter[str] = Counter()
    found = []
    for branch in architecture.branches:
        name = branch.backbone if branch.patch_size is None else f"{branch.backbone}p{branch.patch_size}"
        found.append(f"{name}#{seen[name] + 1}" if seen[name] else name)
        seen[name] += 1
    return found
