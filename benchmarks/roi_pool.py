"""Time of RoI max pooling on the CPU against torchvision's, forward and backward.

The feature map is VGG16's of a 600×800 image (512 channels, 37×50 cells), with 7×7 bins; RoIs are
random boxes. Prints the median milliseconds of interleaved repetitions, the machine, and as the
last line the ratio.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torchvision.ops import roi_pool as torchvision_roi_pool

from frcnn_cli.ops.roi_pool import roi_pool

HEIGHT, WIDTH, STRIDE = 600, 800, 16


def random_rois(count: int, generator: torch.Generator) -> torch.Tensor:
    """[count, 5] RoIs inside the image, of the sizes that selective search gives."""
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT]) * 0.9
    sides = torch.rand(count, 2, generator=generator) ** 2 * torch.tensor([WIDTH, HEIGHT]) * 0.7
    ends = torch.minimum(corners + 20 + sides, torch.tensor([WIDTH, HEIGHT]))
    return torch.cat([torch.zeros(count, 1), corners, ends], dim=1)


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=11)
    repetitions = parser.parse_args().repetitions
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, 512, HEIGHT // STRIDE, WIDTH // STRIDE, generator=generator)
    ratios = {}
    print(f"{'RoIs':>5} {'pass':>9} {'torchvision ms':>15} {'ours ms':>8} {'ratio':>6}")
    for count, backward in ((2000, False), (128, False), (128, True)):
        rois = random_rois(count, generator)
        # each gets the feature map in the memory layout that suits it
        inputs = {
            torchvision_roi_pool: features.clone(),
            roi_pool: features.clone().contiguous(memory_format=torch.channels_last),
        }
        times: dict[object, list[float]] = {function: [] for function in inputs}
        for repetition in range(repetitions + 1):
            for function, feature_map in inputs.items():
                x = feature_map.requires_grad_(backward)

                def call() -> None:
                    out = function(x, rois, (7, 7), 1 / STRIDE)  # noqa: B023
                    if backward:  # noqa: B023
                        out.sum().backward()

                elapsed = seconds(call)
                if repetition:  # the first one compiles
                    times[function].append(elapsed)
        theirs, ours = (1e3 * statistics.median(times[function]) for function in inputs)
        ratios[count, backward] = theirs / ours
        name = "fwd + bwd" if backward else "forward"
        print(f"{count:>5} {name:>9} {theirs:>15.1f} {ours:>8.1f} {theirs / ours:>6.1f}")
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32"
    )
    print(f"ratio {ratios[2000, False]:.1f} RoI pooling of 2000 RoIs, torchvision / ours")


if __name__ == "__main__":
    main()
