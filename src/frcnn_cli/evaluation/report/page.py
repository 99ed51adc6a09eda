"""The report as one HTML page, which loads nothing and runs only its own script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

VALIDATIONS = 8  # columns of the table of validations, at most
_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """The results of one class; NaN for a result that it does not have."""

    name: str
    ap: float
    paper_ap: float
    object_count: int
    recall: float
    precision: float


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """The errors of one type."""

    error_type: str
    description: str
    confident: int  # number of errors with the score of `Page.score` or more
    total: int
    gain: float  # of mean AP, if all errors of the type were fixed


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Objects of K classes by what they were detected as; class 0 is the background."""

    names: Sequence[str]  # of the classes that are shown, the background last
    counts: Sequence[Sequence[int]]  # row annotated, column detected
    pairs: Sequence[tuple[str, str, int]]  # annotated, detected, count: the most frequent ones


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """What was found in one image."""

    name: str
    found: int
    false: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class ErrorExample:
    """An image that shows an error."""

    error_type: str
    class_name: str
    caption: str
    jpeg: str  # base64
    size: tuple[int, int]  # (height, width)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that the page shows."""

    title: str
    tiles: Sequence[tuple[str, str]]  # (value, label)
    rules: str
    classes: Sequence[ClassRow]
    mean: ClassRow
    paper: str  # where the paper's AP comes from; "" if there is none to compare with
    score: float  # detections with this score or more count for recall and precision
    curves: Sequence[str]  # SVG, one for each class
    curve_note: str  # how AP follows from the curves
    errors: Sequence[ErrorRow]
    confusion: Confusion
    worst: Sequence[ImageRow]
    sizes: Sequence[tuple[str, float, int]]  # (name, mean AP, number of objects)
    histogram: str  # SVG
    reliability: str  # SVG
    calibration_error: str
    recall: Sequence[tuple[str, Sequence[float]]]  # (proposals, (recall at 0.5, at 0.7, MABO))
    recall_note: str
    examples: Sequence[ErrorExample]
    # of the training of the weights: (iteration, class -> AP), NaN without objects
    validations: Sequence[tuple[int, Mapping[str, float]]] = ()

    def html(self) -> str:
        """The page as HTML."""
        sections = {
            "classes": ("Classes", self._classes()),
            "curves": ("Precision and recall", self._curves()),
            "errors": ("Types of error", self._errors()),
            "confusion": ("Confusions", self._confusion()),
            "images": ("The worst images", self._images()),
            "sizes": ("Size of the objects", self._sizes()),
            "scores": ("Scores", self._scores()),
            "proposals": ("Proposals", self._proposals()),
            "examples": ("The worst errors", self._examples()),
        }
        if self.validations:
            sections["validations"] = ("During training", self._validations())
        links = "".join(f'<a href="#{key}">{name}</a>' for key, (name, _) in sections.items())
        body = "".join(
            f'<section id="{key}"><h2>{name}</h2>{content}</section>'
            for key, (name, content) in sections.items()
        )
        tiles = "".join(f"<div><b>{escape(a)}</b>{escape(b)}</div>" for a, b in self.tiles)
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_read('page.css')}</style></head><body>"
            f"<h1>{escape(self.title)}</h1>{_note(escape(self.rules))}"
            f'<div class="tiles">{tiles}</div><nav>{links}</nav>{body}'
            f"<script>{_read('page.js')}</script></body></html>\n"
        )

    def _classes(self) -> str:
        paper_heading = ["paper"] if self.paper else []
        headings = ["class", "AP", *paper_heading, "objects", "recall", "precision"]
        rows = "".join(f"<tr>{self._class_cells(row)}</tr>" for row in self.classes)
        paper_note = f"<p>AP of the paper: {escape(self.paper)}</p>" if self.paper else ""
        return (
            _note(
                "Recall and precision at IoU 0.5, of the detections with a score of "
                f"{self.score:g} or more. Click on a heading to sort by it."
            )
            + f'{paper_note}<div class="scroll"><table><thead><tr>'
            + "".join(f'<th scope="col"><button>{each}</button></th>' for each in headings)
            + f"</tr></thead><tbody>{rows}</tbody><tfoot><tr><td><b>mean</b></td>"
            + self._class_cells(self.mean).split("</td>", 1)[1]
            + "</tr></tfoot></table></div>"
        )

    def _class_cells(self, row: ClassRow) -> str:
        cells = [_cell(escape(row.name), row.name), _bar(row.ap, row.ap)]
        if self.paper:
            cells.append(_number(row.paper_ap))
        cells.append(_cell(str(row.object_count), str(row.object_count)))
        return "".join([*cells, _number(row.recall), _number(row.precision)])

    def _curves(self) -> str:
        note = (
            "The line is precision over recall at IoU 0.5. The area is the best precision at each "
            f"recall or a higher one{escape(self.curve_note)}. The dot is at score {self.score:g}."
        )
        return f'{_note(note)}<div class="curves">{"".join(self.curves)}</div>'

    def _errors(self) -> str:
        largest = max((row.gain for row in self.errors if row.gain > 0), default=1.0)
        rows = "".join(
            f"<tr><td>{escape(row.error_type)}<small>{escape(row.description)}</small></td>"
            f"{_cell(f'{row.confident:,}', str(row.confident))}"
            f"{_cell(f'{row.total:,}', str(row.total))}"
            f"{_bar(row.gain, row.gain / largest, signed=True)}</tr>"
            for row in self.errors
        )
        note = (
            "The number of errors of each type, and what they cost: the mean AP at IoU 0.5 that "
            "would be gained if all errors of this type, and no others, were fixed. The gains of "
            "several types do not add up."
        )
        headings = ("type", f"score ≥ {self.score:g}", "all", "mean AP gained")
        return _note(note) + _table(headings, rows)

    def _confusion(self) -> str:
        note = (
            f"What the objects were detected as, by detections with a score of {self.score:g} or "
            "more at IoU 0.5: rows are annotated, columns detected. The last row are detections "
            "without an object, the last column objects without a detection."
        )
        pairs = "".join(
            f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{count:,}</td></tr>"
            for a, b, count in self.confusion.pairs
        )
        names = self.confusion.names
        matrix = ""
        if names:
            rows = "".join(
                f"<tr><td>{escape(name)}</td>{_heat_row(counts)}</tr>"
                for name, counts in zip(names, self.confusion.counts, strict=True)
            )
            matrix = _table(("", *map(escape, names)), rows)
        listed = _table(("annotated", "detected as", "objects"), pairs) if pairs else ""
        return _note(note) + matrix + listed

    def _images(self) -> str:
        if not self.worst:
            return _note("There are no errors.")
        rows = "".join(
            f"<tr><td>{escape(row.name)}</td><td>{row.found}</td><td>{row.false}</td>"
            f"<td>{row.missed}</td></tr>"
            for row in self.worst
        )
        note = (
            f"The images with the most errors at score {self.score:g} and IoU 0.5. All images are "
            "in images.csv beside this page."
        )
        return _note(note) + _table(("image", "found", "false", "missed"), rows)

    def _sizes(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td>{_cell(f'{count:,}', str(count))}{_bar(ap, ap)}</tr>"
            for name, ap, count in self.sizes
        )
        note = (
            "Mean AP at IoU 0.5 for objects with an area below 32², below 96², and of 96² square "
            "pixels or more. Objects of the other sizes are ignored in each row."
        )
        return _note(note) + _table(("size", "objects", "mean AP"), rows)

    def _scores(self) -> str:
        note = (
            'The number of <span class="key">true positives</span> and <span class="key bad">false '
            "positives</span> of all classes by score, on a logarithmic scale."
        )
        calibration = (
            "How many of the detections of a score are right, at IoU 0.5; on the diagonal, the "
            "score is the probability of that. The mean distance from it, the expected calibration "
            f"error, is {escape(self.calibration_error)}."
        )
        return _note(note) + self.histogram + _note(calibration) + self.reliability

    def _proposals(self) -> str:
        note = _note(escape(self.recall_note))
        if not self.recall:
            return note
        rows = "".join(
            f"<tr><td>{escape(count)}</td>{''.join(_number(value) for value in values)}</tr>"
            for count, values in self.recall
        )
        return note + _table(("proposals", "recall at 0.5", "recall at 0.7", "MABO"), rows)

    def _validations(self) -> str:
        last = len(self.validations) - 1
        count = min(last + 1, VALIDATIONS)
        shown = [self.validations[round(last * i / max(count - 1, 1))] for i in range(count)]
        means = [_mean(ap.values()) for _, ap in shown]
        rows = "".join(
            f"<tr><td>{escape(name)}</td>"
            f"{''.join(_number(ap.get(name, math.nan)) for _, ap in shown)}</tr>"
            for name in self.validations[last][1]
        )
        rows += f"<tr><td><b>mean</b></td>{''.join(map(_number, means))}</tr>"
        note = (
            "AP of the classes on the validation images of the run that these weights are from, "
            f"after so many iterations; {count} of {last + 1} validations."
        )
        return _note(note) + _table(("class", *(f"{each:,}" for each, _ in shown)), rows)

    def _examples(self) -> str:
        if not self.examples:
            return _note("There are no errors, or the image files cannot be read.")
        types = list(dict.fromkeys(example.error_type for example in self.examples))
        names = sorted({example.class_name for example in self.examples})
        radios = "".join(
            f'<label><input type="radio" name="type" value="{escape(error_type)}"'
            f"{' checked' if not error_type else ''}>{escape(error_type) or 'all'}</label>"
            for error_type in ["", *types]
        )
        options = "".join(f'<option value="{escape(n)}">{escape(n)}</option>' for n in names)
        note = (
            "The false positives with the highest scores and the largest missed objects, at most "
            'one of each type in an image: <span class="key detected">detected</span> and '
            '<span class="key annotated">annotated</span> boxes. Click on an image to enlarge it.'
        )
        return (
            f'{_note(note)}<form id="filters" hidden>{radios}<select name="class" '
            f'aria-label="class"><option value="">all classes</option>{options}</select></form>'
            f'<div class="gallery">{"".join(map(_figure, self.examples))}</div>'
        )


def _mean(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN where all are."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _figure(example: ErrorExample) -> str:
    error_type, caption = escape(example.error_type), escape(example.caption)
    height, width = example.size
    return (
        f'<figure data-type="{error_type}" data-class="{escape(example.class_name)}">'
        f'<img src="data:image/jpeg;base64,{example.jpeg}" width="{width}" height="{height}" '
        f'loading="lazy" alt="{error_type}: {caption}"><figcaption>'
        f"<b>{error_type}</b>: {caption}</figcaption></figure>"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _note(html: str) -> str:
    return f'<p class="soft">{html}</p>'


def _table(headings: Sequence[str], rows: str) -> str:
    head = "".join(f"<th>{each}</th>" for each in headings)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(shown: str, value: str) -> str:
    """A cell that page.js sorts by `value`."""
    return f'<td data-value="{escape(value)}">{shown}</td>'


def _heat_row(counts: Sequence[int]) -> str:
    """Cells that are the darker the larger their fraction of the row is."""
    total = max(sum(counts), 1)
    return "".join(
        f'<td class="heat" style="--fraction:{100 * count / total:.0f}%">{count or ""}</td>'
        for count in counts
    )


def _number(value: float) -> str:
    return _cell("–", "-1") if math.isnan(value) else _cell(f"{value:.3f}", f"{value:.6f}")


def _bar(value: float, fraction: float, signed: bool = False) -> str:
    """A cell with a number and a bar that fills this fraction of it."""
    if math.isnan(value):
        return '<td class="bar" data-value="-1">–</td>'
    width = 100 * min(max(fraction, 0.0), 1.0)
    shown = f"{value:+.3f}" if signed else f"{value:.3f}"
    return (
        f'<td class="bar" data-value="{value:.6f}"><div>'
        f'<i style="--fraction:{width:.1f}%"></i>{shown}</div></td>'
    )
