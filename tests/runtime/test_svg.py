from __future__ import annotations

from xml.etree import ElementTree

import pytest

from frcnn_cli.runtime.svg import (
    HEIGHT,
    WIDTH,
    Axis,
    PlotArea,
    Series,
    axis,
    document,
    element,
    insert,
    line_chart,
    sheet,
    text,
)

SPACE = "{http://www.w3.org/2000/svg}"
LINES = [Series("a", [(1, 2), (3, 5), (10, 7)]), Series("<b&>", [(2, 1), (4, 3)])]


def test_attributes() -> None:
    made = element("path", class_="a", stroke_width=2, x=1 / 3, d='M0 0"')
    assert made == '<path class="a" stroke-width="2" x="0.3" d="M0 0&quot;"/>'
    assert element("g", made, id="b") == f'<g id="b">{made}</g>'


def test_texts_are_escaped() -> None:
    assert text(1, 2.0, "<&>", dy=4) == '<text x="1" y="2.0" dy="4">&lt;&amp;&gt;</text>'


def test_an_element_is_inserted_at_the_beginning() -> None:
    root = ElementTree.fromstring(insert(document((30, 20), [element("g")], role="img"), "<a/>"))
    assert (root.get("viewBox"), root.get("role")) == ("0 0 30 20", "img")
    assert [part.tag for part in root] == [f"{SPACE}a", f"{SPACE}g"]


@pytest.mark.parametrize(
    ("values", "logarithmic"), [([0.1, 80], True), ([3, 3], False), ([0.44, 0.45], False)]
)
def test_an_axis_holds_its_values_and_has_ticks(values, logarithmic) -> None:
    made = axis("x", values, logarithmic)
    assert all(0 < made.fraction(value) < 1 for value in values)
    assert 2 <= len(made.ticks()) <= 13


def test_positions_in_a_plot_area() -> None:
    area = PlotArea(
        left=10,
        top=20,
        width=100,
        height=50,
        x_axis=Axis("x", 1, 100, logarithmic=True),
        y_axis=Axis("y", -1, 1),
    )
    assert (area.right, area.bottom) == (110, 70)
    assert [area.x(value) for value in (1, 10, 100)] == pytest.approx([10, 60, 110])
    assert [area.y(value) for value in (-1, 0, 1)] == [70, 45, 20]
    assert area.x_labels([(1, "a")], 5) == ['<text x="10.0" y="75" text-anchor="middle">a</text>']
    (label,) = area.y_labels([(1, "b")], 5)
    assert label == '<text x="5" y="20.0" dy="4" text-anchor="end">b</text>'


def test_a_line_chart() -> None:
    chart = line_chart(
        "T", axis("x", [1, 10]), axis("y", [1, 7]), LINES, mark=(3, 5, "here"), level=(4, "limit")
    )
    root = ElementTree.fromstring(chart)
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    points = " ".join(each.get("points") for each in root.iter(f"{SPACE}polyline")).split()
    dots = [c for c in root.iter(f"{SPACE}circle") if c.get("r") == "3"]
    assert points == [f"{c.get('cx')},{c.get('cy')}" for c in dots]
    (ring,) = (c for c in root.iter(f"{SPACE}circle") if c.get("r") == "8")
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))
    texts = [each.text for each in root.iter(f"{SPACE}text")]
    assert {"T", "x", "y", "a", "<b&>", "here", "limit"} <= set(texts)


def test_a_sheet_arranges_charts_in_rows() -> None:
    chart = line_chart("T", axis("x", [1, 10]), axis("y", [1, 7]), LINES)
    root = ElementTree.fromstring(sheet([chart] * 3, columns=2))
    assert root.get("viewBox") == f"0 0 {2 * WIDTH} {2 * HEIGHT}"
    places = [(each.get("x"), each.get("y")) for each in root.findall(f"{SPACE}svg")]
    assert places == [("0", "0"), (str(WIDTH), "0"), ("0", str(HEIGHT))]
