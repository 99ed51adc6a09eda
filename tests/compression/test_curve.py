from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest

from frcnn_cli.compression.calibration import Calibration
from frcnn_cli.compression.compressor import Compressor
from frcnn_cli.compression.curve import (
    Candidate,
    Point,
    candidates,
    draw_curve,
    measure_curve,
    smallest_within,
    to_csv,
)
from frcnn_cli.config import CompressConfig
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import FrcnnError
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.runtime.svg import axis


@pytest.fixture
def compressor(detector: Detector, calibration: Calibration) -> Compressor:
    return Compressor(detector.network, detector.header, calibration)


@pytest.mark.parametrize(
    ("ranks", "half"),
    [({"fc6": 4, "fc7": 3}, True), ({"fc6": None, "fc7": 2}, False), ({"fc6": 9}, True)],
)
def test_a_point_is_what_the_compressed_network_reaches(
    detector, compressor, voc_folder, ranks, half
) -> None:
    ranks = {"fc6": None, "fc7": None, **ranks}
    dataset = load_voc(voc_folder, "voc", "train", ())
    ladder = [Candidate("plain", dict.fromkeys(ranks)), Candidate("aware", ranks)]
    advanced: list[int] = []
    points = measure_curve(
        detector,
        compressor,
        ladder,
        dataset,
        half=half,
        workers=1,
        on_image=lambda: advanced.append(1),
    )
    assert len(advanced) == len(dataset)
    full = evaluate(detector, dataset, metric="voc07", workers=1).mean_ap
    assert points[0].mean_ap == pytest.approx(full, abs=1e-6)
    compressor.apply(compressor.report(ranks, "aware"))
    small = evaluate(detector, dataset, metric="voc07", workers=1).mean_ap
    assert points[1].mean_ap == pytest.approx(small, abs=1e-6)
    left = sum(p.numel() for p in detector.network.parameters())
    assert points[1].megabytes == pytest.approx((2 if half else 4) * left / 1e6, rel=1e-9)
    assert all(point.milliseconds > 0 for point in points)


def test_candidates_are_the_full_network_and_then_also_the_chosen_ranks(compressor) -> None:
    chosen = compressor.choose_ranks(CompressConfig(rank=5))
    ladder = candidates(compressor, chosen)
    assert ladder[0].ranks == {"fc6": None, "fc7": None}
    assert {each.method for each in ladder[1:]} == {"plain", "aware"}
    assert sum(each.ranks == chosen for each in ladder) == 2
    for method in ("plain", "aware"):
        own = [str(each.ranks) for each in ladder[1:] if each.method == method]
        assert len(own) == len(set(own)) >= 3


def point(method: str, rank: int | None, mean_ap: float, weights: int) -> Point:
    return Point(
        method=method,
        ranks={"fc6": rank, "fc7": None},
        mean_ap=mean_ap,
        weights=weights,
        megabytes=weights / 1e5,
        milliseconds=1.0,
    )


POINTS = [
    point("plain", None, 0.5, 1000),
    point("plain", 4, 0.40, 300),
    point("plain", 9, 0.49, 600),
    point("aware", 4, 0.494, 300),
    point("aware", 9, 0.501, 600),
]


@pytest.mark.parametrize(
    ("drop", "expected"), [(0.1, POINTS[4]), (0.61, POINTS[3]), (15, POINTS[1]), (0.0, POINTS[4])]
)
def test_the_smallest_within_a_loss(drop: float, expected: Point) -> None:
    point = smallest_within(POINTS, drop)
    assert (point.weights, point.ranks) == (expected.weights, expected.ranks)


def test_no_candidate_within_a_loss() -> None:
    with pytest.raises(
        FrcnnError, match=r"at most 0\.1 points of mAP; the best one loses"
    ) as error:
        smallest_within(POINTS[:2], 0.1)
    assert "one loses 10" in error.value.message
    assert error.value.hint.endswith("--rank fc6=4")
    with pytest.raises(FrcnnError, match=r"at most 0\.1 points of mAP$"):
        smallest_within(POINTS[:1], 0.1)


def test_table() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(POINTS))))
    assert [row["method"] for row in rows] == ["whole", "plain", "plain", "aware", "aware"]
    assert [row["fc6"] for row in rows] == ["", "4", "9", "4", "9"]
    assert float(rows[3]["map"]) == 0.494


def test_the_chart_rings_the_chosen_point_in_each_chart() -> None:
    root = ElementTree.fromstring(draw_curve(POINTS, "aware", POINTS[4].ranks))
    space = "{http://www.w3.org/2000/svg}"
    charts = root.findall(f"{space}svg")
    assert [len(chart.findall(f"{space}polyline")) for chart in charts] == [2, 1, 1]
    assert [float(chart.get("y", "")) for chart in charts] == [0, 400, 800]
    for chart, dot, text in zip(charts, (3, 1, 1), ("50.1", "1 ms", "0.0 MB"), strict=True):
        rings = [c for c in chart.iter(f"{space}circle") if c.get("r") == "8"]
        dots = [c for c in chart.iter(f"{space}circle") if c.get("r") == "3"]
        assert len(rings) == 1
        assert (rings[0].get("cx"), rings[0].get("cy")) == (
            dots[dot].get("cx"),
            dots[dot].get("cy"),
        )
        texts = [t.text or "" for t in chart.iter(f"{space}text")]
        assert f"fc6 9, fc7 full: {text}" in texts


@pytest.mark.parametrize(
    ("values", "logarithmic"), [([0.1, 80], True), ([3, 3], False), ([0.44, 0.45], False)]
)
def test_axis_holds_its_values_and_has_ticks(values, logarithmic) -> None:
    made = axis("x", values, logarithmic)
    assert all(0 <= made.fraction(value) <= 1 for value in values)
    assert 2 <= len(made.ticks()) <= 13
