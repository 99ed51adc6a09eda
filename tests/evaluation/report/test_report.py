from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import FrcnnError
from frcnn_cli.evaluation.metrics import evaluate_detections
from frcnn_cli.evaluation.report.report import _confusion, write_report
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import DEFAULT, PROPOSERS, dense
from frcnn_cli.structures import Detections, Proposals

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
MALICIOUS_NAME = '<img src=x onerror="alert(1)">&'


def detections_of(dataset, truths, seed=0):
    """For each object an exact one, two moved ones and one of another class; and background."""
    rng = np.random.default_rng(seed)
    result = []
    for index, truth in enumerate(truths):
        boxes, labels = [], []
        for box, label in zip(truth.boxes, truth.labels, strict=True):
            boxes += [box, box + np.array([0, 0, 1, 1]), box + rng.uniform(-25, 25, 4), box]
            labels += [label, label, label, 1 + label % len(dataset.classes)]
        boxes.append(np.array([0, 0, 6, 6]))
        labels.append(1)
        boxes = np.array(boxes, np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = rng.random(len(boxes)).astype(np.float32)
        count = len(boxes) if index % 4 else 0
        result.append(
            Detections(
                boxes=boxes[:count],
                scores=scores[:count],
                labels=np.array(labels)[:count],
                image_size=dataset.size(index),
            )
        )
    return result


def write(folder: Path, dataset, metric="voc07", proposals=None):
    truths = dataset.ground_truths()
    detections = detections_of(dataset, truths)
    evaluation = evaluate_detections(detections, truths, dataset.classes, metric)
    calls: list = []
    page = write_report(
        folder,
        dataset,
        evaluation,
        title="tiny",
        proposals=proposals,
        on_image=lambda: calls.append(1),
    )
    assert len(calls) == len(dataset)
    return page, evaluation


@pytest.fixture
def dataset(voc_folder: Path):
    return load_voc(voc_folder, "voc2007", "trainval", ())


class Links(HTMLParser):
    """Everything that a browser would load, and the links within the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.loaded += [values["src"]] if "src" in values else []
        (self.links if tag == "a" else self.loaded).extend(
            [values["href"]] if "href" in values else []
        )


def test_one_page_without_a_network(tmp_path: Path, dataset) -> None:
    page, evaluation = write(tmp_path / "out", dataset)
    text = page.read_text()
    links = Links(text)
    assert page == tmp_path / "out" / "index.html"
    assert all(each.startswith("data:image/jpeg;base64,") for each in links.loaded)
    assert len(links.loaded) > 5
    assert [link[1:] for link in links.links] == [i for i in links.ids if i != "filters"]
    assert "url(" not in text
    assert "@import" not in text
    assert f"{evaluation.mean_ap:.3f}" in text
    assert "tiny on voc2007 trainval" in text
    assert "prefers-color-scheme: dark" in text


def test_the_numbers_are_those_of_the_evaluation(tmp_path: Path, dataset) -> None:
    page, evaluation = write(tmp_path, dataset)
    rows = re.findall(r"<tr><td data-value=\"(\w+)\">\w+</td>(.*?)</tr>", page.read_text())
    for name, cells in rows:
        k = evaluation.classes.index(name)
        values = [float(v) for v in re.findall(r'data-value="([^"]+)"', cells)]
        # -1 is the AP of the paper, which has no such class
        expected = [
            evaluation.ap[k],
            -1,
            evaluation.object_counts[k],
            evaluation.recall[k],
            evaluation.precision[k],
        ]
        assert values == pytest.approx(expected, abs=1e-6)
    assert [name for name, _ in rows] == list(evaluation.classes)


def test_curves_are_files_too(tmp_path: Path, dataset) -> None:
    write(tmp_path, dataset)
    names = sorted(path.name for path in (tmp_path / "curves").iterdir())
    assert names == ["01-ball.svg", "02-box.svg", "03-tile.svg", "all.svg"]
    for name in names:
        root = ElementTree.parse(tmp_path / "curves" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findall(".//{*}path[@class='curve']")
    assert len(root.findall(".//{*}path[@class='curve']")) == 3


def test_names_from_files_are_escaped(tmp_path: Path, dataset) -> None:
    names = (MALICIOUS_NAME, "../../up", "tile")
    renamed = dict(zip(dataset.classes, names, strict=True))
    renamed_dataset = replace(
        dataset,
        name=MALICIOUS_NAME,
        classes=names,
        ids=tuple(f"{MALICIOUS_NAME}{i}" for i in range(len(dataset))),
        annotations=tuple(
            replace(each, names=tuple(renamed[n] for n in each.names))
            for each in dataset.annotations
        ),
    )
    page, _ = write(tmp_path / "out", renamed_dataset)
    text = page.read_text()
    assert MALICIOUS_NAME not in text
    assert escape(MALICIOUS_NAME) in text
    assert Links(text).tags.count("script") == 1
    written = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*.svg")}
    assert written == {"out"}
    for path in (tmp_path / "out" / "curves").iterdir():
        ElementTree.parse(path)


def cache_proposals(method, folder: Path, dataset, count: int) -> ProposalSource:
    """Put the first `count` objects of each image into the cache as its proposals."""
    source = ProposalSource(method, folder / "proposals")
    for index in range(len(dataset)):
        content, image, truth = dataset.read(index)
        source.store(content, Proposals(np.rint(truth.boxes[:count]), image.shape[:2]))
    return source


def shown_recall(text: str) -> list[list[float]]:
    """Recall at 0.5 and 0.7 and MABO of each row of the table of proposals."""
    section = re.search(r'<section id="proposals">(.*?)</section>', text, re.DOTALL)[1]
    rows = re.findall(r"<tr><td>\d+</td>(.*?)</tr>", section)
    return [[float(value) for value in re.findall(r'data-value="([^"]+)"', row)] for row in rows]


@pytest.mark.parametrize("cached", [False, True])
def test_default_proposals_where_it_is_not_known_which(
    tmp_path, dataset, frcnn_home, cached
) -> None:
    if cached:
        cache_proposals(PROPOSERS[DEFAULT](1), frcnn_home, dataset, 1)
    text = write(tmp_path, dataset)[0].read_text()
    assert "The proposals of these detections are not known or not in the cache" in text
    assert ("The cache has no proposals of these images" in text) == (not cached)
    assert ("by selective search (fast), cached for 8 of 8 images" in text) == cached
    assert len(shown_recall(text)) == (4 if cached else 0)


def test_recall_of_the_proposals_that_the_detections_were_made_from(
    tmp_path, dataset, frcnn_home
) -> None:
    cache_proposals(PROPOSERS[DEFAULT](1), frcnn_home, dataset, 1)
    source = cache_proposals(dense(), frcnn_home, dataset, 100)
    text = write(tmp_path / "dense", dataset, proposals=source)[0].read_text()
    default = write(tmp_path / "default", dataset)[0].read_text()
    assert "by dense, cached for 8 of 8 images" in text
    assert "not known" not in text
    assert [row[0] for row in shown_recall(text)] == [1] * 4  # every object is a proposal
    assert max(row[0] for row in shown_recall(default)) < 1


def test_without_image_files(tmp_path: Path, dataset, voc_folder: Path) -> None:
    for path in (voc_folder / "JPEGImages").iterdir():
        path.unlink()
    text = write(tmp_path, dataset)[0].read_text()
    assert "the image files cannot be read" in text
    assert "The cache has no proposals of these images" in text


def test_coco_metrics_are_on_the_page(tmp_path: Path, dataset) -> None:
    text = write(tmp_path, dataset, "coco")[0].read_text()
    assert all(f"</b>{name}<" in text for name in ("AP50", "APs", "AR100"))


def test_a_folder_that_cannot_be_written(tmp_path: Path, dataset) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FrcnnError, match="cannot write"):
        write(tmp_path / "file", dataset)


CLICKS = """
const log = {};
const child = document.querySelector("iframe").contentDocument;
const view = child.defaultView;
const all = (selector) => [...child.querySelectorAll(selector)];
const shown = () => all(".gallery figure").filter((f) => f.getBoundingClientRect().height > 0);
log.width = child.documentElement.scrollWidth;
log.clipped = all(".scroll").filter((s) => s.scrollWidth > s.clientWidth).length;
log.jumps = all("nav a").map((a) => {
  a.click();
  return child.querySelector(a.getAttribute("href")) !== null;
});
log.sorted = all("#classes th button").map((button) => {
  button.click();
  const column = button.closest("th").cellIndex;
  const values = () => all("#classes tbody tr").map((row) => row.cells[column].dataset.value);
  const down = values();
  button.click();
  return [down, values()];
});
log.every = shown().length;
log.types = all("#filters input").map((input) => {
  input.closest("label").click();
  return [input.value, shown().map((f) => f.dataset.type)];
});
all("#filters input")[0].closest("label").click();
const select = child.querySelector("#filters select");
select.value = "tile";
select.dispatchEvent(new view.Event("change", {bubbles: true}));
log.tile = shown().map((f) => f.dataset.class);
const first = shown()[0];
const before = first.getBoundingClientRect().width;
first.querySelector("img").click();
log.grew = first.getBoundingClientRect().width > before;
first.querySelector("img").click();
log.back = first.getBoundingClientRect().width === before;
log.described = all(".gallery img").every((i) => i.decoding !== undefined && i.alt.length > 0);
document.body.innerHTML = "";
document.body.append(JSON.stringify(log));
"""


def click_through(page: Path, width: int, folder: Path) -> dict:
    """What a browser window of this width shows after clicking on everything."""
    harness = folder / f"harness{width}.html"
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="'
    harness.write_text(
        f'<body style="margin:0">{frame}{escape(page.read_text())}"></iframe>'
        f"<script>onload = () => {{{CLICKS}}}</script></body>"
    )
    assert BROWSER is not None
    result = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/user",
         "--virtual-time-budget=5000", "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    body = re.search(r"<body[^>]*>(.*)</body>", result.stdout, re.DOTALL)
    assert body is not None, result.stderr
    return json.loads(unescape(body[1]))


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_clicking_through_the_page(tmp_path: Path, dataset, width: int) -> None:
    page, evaluation = write(tmp_path / "out", dataset)
    log = click_through(page, width, tmp_path)
    assert log["width"] <= width
    assert log["clipped"] == 0
    assert log["jumps"] == [True] * page.read_text().count("<section ")
    names = sorted(evaluation.classes)
    assert log["sorted"][0] == [names[::-1], names]
    for down, up in log["sorted"][1:]:
        assert [float(v) for v in down] == sorted(map(float, down), reverse=True)
        assert [float(v) for v in up] == sorted(map(float, up))
    assert log["types"][0] == ["", log["types"][0][1]]
    assert len(log["types"][0][1]) == log["every"] > 5
    assert len(log["types"]) > 4
    for error_type, shown in log["types"][1:]:
        assert set(shown) == {error_type}
    assert set(log["tile"]) == {"tile"}
    assert log["grew"]
    assert log["back"]
    assert log["described"]


def test_confusions_and_the_worst_images(dataset, tmp_path) -> None:
    page, evaluation = write(tmp_path, dataset)
    text = page.read_text()
    lines = (tmp_path / "images.csv").read_text().splitlines()
    assert lines[0] == "image,found,false,missed"
    assert sorted(line.split(",")[0] for line in lines[1:]) == sorted(dataset.ids)
    counts = np.array([line.split(",")[1:] for line in lines[1:]], int)
    assert counts[:, [0, 2]].sum() == evaluation.object_counts.sum()
    errors = counts[:, 1] + counts[:, 2]
    assert (np.diff(errors) <= 0).all()
    worst = re.search(r'<section id="images">(.*?)</section>', text, re.DOTALL)[1]
    assert re.findall(r"<tr><td>(\d+)</td>", worst) == [
        line.split(",")[0] for line, count in zip(lines[1:], errors, strict=True) if count
    ]
    matrix = re.search(r'<section id="confusion">(.*?)</section>', text, re.DOTALL)[1]
    cells = [int(cell or 0) for cell in re.findall(r'class="heat"[^>]*>(\d*)<', matrix)]
    assert cells == [count for row in _confusion(evaluation).counts for count in row]
    assert sum(cells) > evaluation.object_counts.sum()


def test_no_objects_is_a_dash_everywhere(dataset, tmp_path) -> None:
    empty = dataset.select([2]).with_classes(("ball", "box", "tile"))
    truths = [truth[np.zeros(len(truth.labels), bool)] for truth in empty.ground_truths()]
    evaluation = evaluate_detections(detections_of(empty, truths), truths, empty.classes, "voc07")
    page = write_report(tmp_path, empty, evaluation, title="tiny")
    assert "<div><b>–</b>mean AP</div>" in page.read_text()
    assert ">nan<" not in page.read_text()


def test_the_validations_of_the_run(tmp_path: Path, dataset) -> None:
    page, evaluation = write(tmp_path / "without", dataset)
    assert "During training" not in page.read_text()
    rows = [(100 * i, {MALICIOUS_NAME: i / 20, "b": np.nan, "c": 0.0}) for i in range(1, 16)]
    page = write_report(tmp_path / "with", dataset, evaluation, title="tiny", validations=rows)
    text = page.read_text()
    assert '<a href="#validations">During training</a>' in text
    assert "8 of 15 validations" in text
    table = text[text.index('<section id="validations">') :]
    assert re.findall(r"<th>([\d,]+)</th>", table)[::7] == ["100", "1,500"]
    cells = re.findall(r"<tr><td>(.*?)</td><td[^>]*>([\d.–]+)</td>.*?>([\d.–]+)</td></tr>", table)
    assert cells == [
        (escape(MALICIOUS_NAME), "0.050", "0.750"),
        ("b", "–", "–"),
        ("c", "0.000", "0.000"),
        ("<b>mean</b>", "0.025", "0.375"),
    ]
