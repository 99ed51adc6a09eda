"""Write the selective search boxes of a folder for weakly supervised detection code.

python examples/proposals_for_wsod.py VOC2007/JPEGImages --out boxes.mat
python examples/proposals_for_wsod.py VOC2007/JPEGImages --out boxes.pkl --mode quality

A .mat file has the variables of the released selective search files, `boxes` and `images`, with
columns (y1, x1, y2, x2) from 1, as WSDDN and OICR read them. A .pkl file is a
dictionary of `indexes`, `boxes` and `scores`, with columns (x1, y1, x2, y2) from 0 and the last
pixel included, as Detectron and PCL read it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from frcnn_cli import propose
from frcnn_cli.proposers.exchange.exporter import export_boxes

ENDINGS = {".jpg", ".jpeg", ".png"}


def main(folder: Path, out: Path, mode: str, min_side: float) -> None:
    """Write, for every photograph, the boxes whose sides have `min_side` pixels or more."""
    photographs = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    boxes = {}
    for result in propose(photographs, mode):
        if result.proposals is None:
            print(f"{result.path}: {result.error}", file=sys.stderr)
            continue
        proposed = result.proposals.boxes
        large = (proposed[:, 2:] - proposed[:, :2] >= min_side).all(axis=1)
        boxes[result.index] = proposed[large]
    export_boxes(out, photographs, boxes, "mat" if out.suffix == ".mat" else "detectron")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("boxes.mat"), help=".mat or .pkl")
    parser.add_argument("--mode", default="fast", help="fast, single, quality or dense")
    parser.add_argument("--min-side", type=float, default=20, help="smallest side of a box, pixels")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.out, arguments.mode, arguments.min_side)
