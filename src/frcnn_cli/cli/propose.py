"""frcnn propose"""

from __future__ import annotations

import os
import time
from json import dumps
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..data.datasets import names_dataset
from ..errors import DataError
from .console import ProgressLine, stderr, stdout
from .options import (
    Config,
    Data,
    Jobs,
    Json,
    Limit,
    Quiet,
    Split,
    image_files,
    open_named,
    proposal_source,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUNTS = (500, 1000, 2000, 100_000)


def propose(
    sources: Annotated[
        list[str], typer.Argument(help="Images, folders, glob patterns, or one data set (voc2007).")
    ],
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Make region proposals by selective search and keep them in the cache.

    What is in the cache already is not made again, so a run that was stopped goes on where it was.
    For a data set the recall of the proposals is printed too.

    Example: frcnn propose photos/ --jobs 2
    """
    named = None
    if len(sources) == 1 and names_dataset(sources[0]) and not Path(sources[0]).exists():
        named = open_named(sources[0], data, split, ("trainval", "train"), limit)
        paths = list(named.paths)
    else:
        paths = image_files(sources)[:limit]
    from ..engine.propose import propose_files
    from ..evaluation.recall import best_overlaps

    source = proposal_source(quiet)
    workers = jobs or os.cpu_count() or 1
    start = time.perf_counter()
    boxes, cached, failed, overlaps = [], 0, [], []
    with ProgressLine("proposals", len(paths), "images", quiet) as progress:
        for index, result in enumerate(propose_files(paths, source, workers)):
            progress.advance()
            if result.proposals is None:
                failed.append(result)
                continue
            boxes.append(len(result.proposals.boxes))
            cached += result.cached
            if named is not None:
                objects = named.ground_truth(index)
                overlaps.append(best_overlaps(result.proposals, objects, COUNTS))
    seconds = time.perf_counter() - start
    summary: dict[str, Any] = {
        "images": len(boxes),
        "cached": cached,
        "failed": len(failed),
        "boxes_per_image": round(fmean(boxes or [0]), 1),
        "seconds": round(seconds, 2),
        "cache": str(source.folder),
    }
    if sum(map(len, overlaps)):
        import numpy as np

        summary["recall"] = _recall(np.concatenate(overlaps))
    if json:
        print(dumps(summary))
    else:
        _print(summary)
    for result in failed:
        assert result.error is not None
        stderr.print(f"  {result.error.message}")
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} images failed", "they are named above")


def _recall(best: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Recall at IoU 0.5 and 0.7 and the average best overlap, for each number of proposals."""
    table = {}
    for column, count in enumerate(COUNTS):
        own = best[:, column]
        name = str(count) if count < COUNTS[-1] else "all"
        figures = {"0.5": (own >= 0.5).mean(), "0.7": (own >= 0.7).mean(), "abo": own.mean()}
        table[name] = {key: round(float(value), 4) for key, value in figures.items()}
    return table


def _print(summary: dict[str, Any]) -> None:
    new = summary["images"] - summary["cached"]
    stdout.print(
        f"{summary['images']} images ({new} new, {summary['cached']} from the cache), "
        f"{summary['boxes_per_image']} boxes an image, {summary['seconds']} s"
    )
    for count, row in summary.get("recall", {}).items():
        stdout.print(
            f"  recall of {count:>4}: {row['0.5']:.3f} at IoU 0.5, {row['0.7']:.3f} at 0.7, "
            f"average best overlap {row['abo']:.3f}"
        )
    stdout.print(f"kept in {summary['cache']}")
