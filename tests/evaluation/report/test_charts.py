from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from frcnn_cli.evaluation.reliability import Reliability
from frcnn_cli.evaluation.report.charts import (
    curve_chart,
    curve_sheet,
    histogram_chart,
    reliability_chart,
    with_style,
)


def parsed(svg):
    return ElementTree.fromstring(svg)


def texts(root):
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def corners(root, name):
    path = root.find(f".//{{*}}path[@class='{name}']").get("d")
    return [tuple(map(float, pair.split())) for pair in path[1:].split("L")]


def test_a_curve_goes_through_its_points():
    root = parsed(curve_chart("cat", np.array([0.5, 0.5, 1]), np.array([1, 0.5, 0.5]), (1, 0.5)))
    (x1, y1), (x2, y2), (x3, y3) = corners(root, "curve")
    assert x1 == x2 < x3
    assert y1 < y2 == y3  # downwards on the screen
    point = root.find(".//{*}circle")
    assert (float(point.get("cx")), float(point.get("cy"))) == (x3, y3)
    assert texts(root)[0] == "cat"


def test_equal_points_are_drawn_once():
    recall = np.repeat([0.2, 0.9], 1000)
    assert len(corners(parsed(curve_chart("x", recall, recall, None)), "curve")) == 2


@pytest.mark.parametrize("chart", [with_style, lambda svg: curve_sheet([svg] * 3, 2)])
def test_charts_in_files_bring_their_style(chart):
    root = parsed(chart(curve_chart("<&>", np.zeros(0), np.zeros(0), None)))
    assert "prefers-color-scheme" in root.find("{*}style").text
    assert set(texts(root)) >= {"<&>", "0.5"}


def test_histogram():
    true, false = np.array([0, 1, 1000]), np.array([10, 0, 3])
    root = parsed(histogram_chart(np.linspace(0, 1, 4), true, false))
    heights = {
        name: [float(e.get("height")) for e in root.iterfind(f".//{{*}}rect[@class='{name}']")]
        for name in ("true", "false")
    }
    assert heights["true"][0] == heights["false"][1] == 0
    assert 0 < heights["true"][1] < heights["false"][2] < heights["false"][0] < heights["true"][2]
    assert "1,000" in texts(root)
    assert max(heights["true"]) <= 180


def test_an_empty_histogram():
    root = parsed(histogram_chart(np.linspace(0, 1, 3), np.zeros(2, int), np.zeros(2, int)))
    assert {e.get("height") for e in root.iterfind(".//{*}rect")} == {"0.0"}


def test_reliability():
    found = Reliability(
        counts=np.array([4, 0, 2]),
        scores=np.array([0.1, np.nan, 0.9]),
        precision=np.array([0.0, np.nan, 1.0]),
    )
    root = parsed(reliability_chart(found))
    dots = root.findall(".//{*}circle")
    assert len(dots) == 2
    assert float(dots[0].get("cx")) < float(dots[1].get("cx"))
    assert float(dots[0].get("cy")) > float(dots[1].get("cy"))
    assert dots[1].find("{*}title").text == "2 detections, score 0.90, precision 1.00"
    nothing = replace(found, counts=np.zeros(3, int))
    assert not parsed(reliability_chart(nothing)).findall(".//{*}circle")
