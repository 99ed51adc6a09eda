"""Count the objects in a folder of photographs: a CSV file with one row per photograph.

python examples/count_objects.py holiday/ --out counts.csv --score 0.7
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from frcnn_cli import DetectConfig, Detector, Result

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}


def main(folder: Path, out: Path, score: float, weights: str) -> None:
    """Write a row for every photograph; name those that cannot be read on stderr."""
    config = DetectConfig(score_threshold=score, precision="auto")
    detector = Detector.load(weights, config=config)
    photographs = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", *detector.classes])
        for photograph, result in zip(photographs, detector.run(photographs), strict=True):
            if not isinstance(result, Result):
                print(f"{photograph}: {result.error.message}", file=sys.stderr)
                continue
            counts = Counter(detection.label for detection in result)
            rows.writerow([photograph.name, *(counts[name] for name in detector.classes)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("counts.csv"))
    parser.add_argument("--score", type=float, default=0.5, help="count objects above this score")
    parser.add_argument("--weights", default="efficientnet_lite0-voc07", help="name or path")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.out, arguments.score, arguments.weights)
