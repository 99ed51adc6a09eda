"""The report as one page of HTML, which needs no network and runs no script but its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class ClassRow:
    """One class; NaN where there is no such figure."""

    name: str
    ap: float
    paper: float  # of the paper, for comparison
    objects: int
    recall: float
    precision: float


@dataclass(frozen=True)
class ErrorRow:
    """One kind of error."""

    kind: str
    about: str
    confident: int  # with the score chosen or a higher one
    every: int
    gain: float  # mAP


@dataclass(frozen=True)
class Picture:
    """A picture of an error."""

    kind: str
    class_name: str
    caption: str
    data: str  # base64 of a JPEG
    size: tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Page:
    """All that the report says."""

    title: str
    tiles: Sequence[tuple[str, str]]  # figure, what it is
    rules: str
    classes: Sequence[ClassRow]
    mean: ClassRow
    paper: str  # whose figures those of the paper are; "" without
    score: float
    curves: Sequence[str]  # SVG
    curve_note: str  # how AP comes from them
    errors: Sequence[ErrorRow]
    sizes: Sequence[tuple[str, float, int]]  # name, mAP, objects
    histogram: str  # SVG
    recall: Sequence[tuple[str, Sequence[float]]]  # proposals: number, figures
    recall_note: str
    pictures: Sequence[Picture]
    pictures_note: str

    def html(self) -> str:
        """The page."""
        sections = {
            "classes": ("Classes", self._classes()),
            "curves": ("Precision and recall", self._curves()),
            "errors": ("Errors by kind", self._errors()),
            "sizes": ("Size of the objects", self._sizes()),
            "scores": ("Scores", self._scores()),
            "proposals": ("Proposals", self._proposals()),
            "pictures": ("The worst errors", self._gallery()),
        }
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
            f'<h1>{escape(self.title)}</h1><p class="soft">{escape(self.rules)}</p>'
            f'<div class="tiles">{tiles}</div><nav>{links}</nav>{body}'
            f"<script>{_read('page.js')}</script></body></html>\n"
        )

    def _classes(self) -> str:
        heads = [
            "class",
            "AP",
            *(["paper"] if self.paper else []),
            "objects",
            "recall",
            "precision",
        ]
        rows = "".join(f"<tr>{self._class_cells(row)}</tr>" for row in self.classes)
        note = f"<p>The paper's figures: {escape(self.paper)}</p>" if self.paper else ""
        return (
            f'<p class="soft">Recall and precision are those of detections with a score of '
            f"{self.score:g} or more, at IoU 0.5. A click on a heading sorts.</p>{note}"
            f'<div class="scroll"><table><thead><tr>'
            + "".join(f'<th scope="col"><button>{head}</button></th>' for head in heads)
            + f"</tr></thead><tbody>{rows}</tbody><tfoot><tr><td><b>mean</b></td>"
            + self._class_cells(self.mean).split("</td>", 1)[1]
            + "</tr></tfoot></table></div>"
        )

    def _class_cells(self, row: ClassRow) -> str:
        cells = [_cell(escape(row.name), row.name), _bar(row.ap, row.ap)]
        if self.paper:
            cells.append(_number(row.paper))
        cells.append(_cell(str(row.objects), str(row.objects)))
        return "".join([*cells, _number(row.recall), _number(row.precision)])

    def _curves(self) -> str:
        return (
            '<p class="soft">Line: precision over recall at IoU 0.5. Area: the best precision at '
            f"that recall or a higher one{escape(self.curve_note)}. Dot: score {self.score:g}.</p>"
            f'<div class="curves">{"".join(self.curves)}</div>'
        )

    def _errors(self) -> str:
        most = max((row.gain for row in self.errors if row.gain > 0), default=1.0)
        rows = "".join(
            f"<tr><td>{escape(row.kind)}<small>{escape(row.about)}</small></td>"
            f"{_cell(f'{row.confident:,}', str(row.confident))}"
            f"{_cell(f'{row.every:,}', str(row.every))}{_bar(row.gain, row.gain / most, True)}</tr>"
            for row in self.errors
        )
        return (
            '<p class="soft">What each kind costs: the mean AP at IoU 0.5 that would be gained if '
            "all errors of the kind and nothing else were fixed. The gains do not add up.</p>"
            '<div class="scroll"><table><thead><tr><th>kind</th>'
            f"<th>score ≥ {self.score:g}</th><th>all</th><th>mean AP gained</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _sizes(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td>{_cell(f'{objects:,}', str(objects))}{_bar(ap, ap)}</tr>"
            for name, ap, objects in self.sizes
        )
        return (
            '<p class="soft">Mean AP of objects of less than 32², of up to 96², and of more square '
            'pixels, at IoU 0.5; objects of other sizes are ignored.</p><div class="scroll">'
            "<table><thead><tr><th>size</th><th>objects</th><th>mean AP</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _scores(self) -> str:
        return (
            '<p class="soft"><span class="key">hits</span> and <span class="key bad">false '
            "positives</span> of all classes, by score; the scale is logarithmic.</p>"
            f"{self.histogram}"
        )

    def _gallery(self) -> str:
        if not self.pictures:
            return f'<p class="soft">{escape(self.pictures_note)}</p>'
        kinds = list(dict.fromkeys(picture.kind for picture in self.pictures))
        names = sorted({picture.class_name for picture in self.pictures})
        radios = "".join(
            f'<label><input type="radio" name="kind" value="{escape(kind)}"'
            f"{' checked' if not kind else ''}>{escape(kind) or 'all'}</label>"
            for kind in ["", *kinds]
        )
        options = "".join(f'<option value="{escape(n)}">{escape(n)}</option>' for n in names)
        figures = "".join(
            f'<figure data-kind="{escape(p.kind)}" data-class="{escape(p.class_name)}">'
            f'<img src="data:image/jpeg;base64,{p.data}" width="{p.size[1]}" height="{p.size[0]}" '
            f'loading="lazy" alt="{escape(p.kind)}: {escape(p.caption)}"><figcaption>'
            f"<b>{escape(p.kind)}</b>: {escape(p.caption)}</figcaption></figure>"
            for p in self.pictures
        )
        return (
            '<p class="soft">The false positives with the highest scores and the largest objects '
            'missed, one of a kind in an image. <span class="key found">detected</span> '
            '<span class="key object">annotated</span></p>'
            f'<form id="filters" hidden>{radios}<select name="class" aria-label="class">'
            f'<option value="">all classes</option>{options}</select></form>'
            f'<div class="gallery">{figures}</div>'
        )

    def _proposals(self) -> str:
        if not self.recall:
            return f'<p class="soft">{escape(self.recall_note)}</p>'
        rows = "".join(
            f"<tr><td>{escape(count)}</td>{''.join(_number(value) for value in values)}</tr>"
            for count, values in self.recall
        )
        return (
            f'<p class="soft">{escape(self.recall_note)}</p><div class="scroll"><table><thead><tr>'
            "<th>proposals</th><th>recall at 0.5</th><th>recall at 0.7</th><th>MABO</th></tr>"
            f"</thead><tbody>{rows}</tbody></table></div>"
        )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _cell(shown: str, value: str) -> str:
    return f'<td data-value="{escape(value)}">{shown}</td>'


def _number(value: float) -> str:
    return _cell("–", "-1") if math.isnan(value) else _cell(f"{value:.3f}", f"{value:.6f}")


def _bar(value: float, share: float, signed: bool = False) -> str:
    if math.isnan(value):
        return '<td class="bar" data-value="-1">–</td>'
    width = 100 * min(max(share, 0.0), 1.0)
    shown = f"{value:+.3f}" if signed else f"{value:.3f}"
    return (
        f'<td class="bar" data-value="{value:.6f}"><div>'
        f'<i style="--share:{width:.1f}%"></i>{shown}</div></td>'
    )
