"""The files of annotation tools, and of well-known data sets with a format of their own."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..errors import DataError, SplitError, counted, reason
from ..runtime.safe_read import read_beginning
from .dataset import Dataset
from .file_types import SUFFIXES
from .folders import bare_name, walk_files
from .json_tools import read_bdd, read_createml, read_labelme, read_supervisely
from .label_studio import read_label_studio
from .locate import ImageLocator, local_name
from .marks import BEGINNING, NUMBER, Mark, either, fits, has
from .shapes import Annotated, FormError
from .splits import ALL, SPLITS, canonical_split, choose_split, split_in_name
from .table import Box, Table, near_folders, table_dataset
from .text_tools import (
    read_cvat,
    read_dota,
    read_kitti,
    read_pascal,
    read_visdrone,
    read_wider,
)
from .via import read_via

_LOOKED_AT = 20  # files of each ending, in a folder that is to be recognised
_LINE = r"[^\r\n]*[\r\n]\s*"  # the rest of one, and blank ones; for patterns
_IMAGE = "|".join(sorted(each[1:] for each in SUFFIXES))


@dataclass(frozen=True)
class Tool:
    """The format of a tool."""

    title: str
    suffixes: tuple[str, ...]  # of its files
    is_own: Mark  # of its files
    read: Callable[[Path], Iterator[Annotated]]
    is_per_image: bool = False  # each image has a file
    is_beside_image: bool = False  # which has the image's name, and lies beside it


TOOLS = {
    "labelme": Tool(
        "LabelMe's JSON", (".json",),  # in which the image itself may come before all else
        has('"shapes"|"imageData"', '"imagePath"|"imageData"|"points"', start="{"),
        read_labelme, is_per_image=True, is_beside_image=True,
    ),
    "via": Tool(
        "the VGG Image Annotator's JSON", (".json",),
        either(
            has(
                '"regions"|"_via_img_metadata"',
                '"file_attributes"|"_via_settings"|"shape_attributes"',
                start="{",
            ),
            has('"project"', '"vid_list"|"fid_list"', start="{"),  # of version 3
        ),
        read_via,
    ),
    "labelstudio": Tool(
        "Label Studio's JSON or CSV", (".json", ".csv", ".tsv"),
        either(
            has('"from_name"|"rectanglelabels"|"polygonlabels"|"total_annotations"', start="["),
            has('""rectanglelabels""|""polygonlabels""|""ellipselabels""|""labels""'),
            fits(r'["\w][^\r\n{\[]{0,2000}annotation_id[^\r\n{\[]{0,2000}lead_time'),
        ),
        read_label_studio,
    ),
    "supervisely": Tool(
        "Supervisely's JSON", (".json",),
        has('"objects"', '"size"|"classTitle"', '"tags"|"geometryType"', start="{"),
        read_supervisely, is_per_image=True,
    ),
    "createml": Tool(
        "CreateML's JSON", (".json",),
        has('"annotations"|"annotation"', '"coordinates"', start="["), read_createml,
    ),
    "bdd": Tool(
        "BDD100K's JSON", (".json",),
        either(
            has('"labels"', '"box2d"', '"category"', start="["),
            has('"frames"', '"objects"', '"timestamp"', '"category"', start="{"),  # of one image
        ),
        read_bdd,
    ),
    "cvat": Tool(
        "CVAT's XML", (".xml",),
        fits(r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<annotations>\s*<(version|meta|image)[\s>/]"),
        read_cvat,
    ),
    "kitti": Tool(
        "KITTI's texts", (".txt",), fits(rf"[a-z][\w-]*([ \t]+{NUMBER}){{14}}\s*(\n|$)"),
        read_kitti, is_per_image=True,
    ),
    "dota": Tool(
        "DOTA's texts", (".txt",),
        fits(
            rf"(imagesource:{_LINE}(gsd:{_LINE})?)?({NUMBER}\s+){{8}}[a-z][\w-]*( [012])?\s*(\n|$)"
        ),
        read_dota, is_per_image=True,
    ),
    "wider": Tool(
        "WIDER FACE's list", (".txt",),
        fits(
            rf"([^\n]+\.({_IMAGE})[ \r]*\n(0[ \r]*\n)?)*[^\n]+\.({_IMAGE})[ \r]*\n\d+[ \r]*\n"
            rf"{NUMBER}( {NUMBER}){{3}}( \S+){{0,7}}\s*(\n|$)"
        ),
        read_wider,
    ),
    "visdrone": Tool(
        "VisDrone's texts", (".txt",),
        fits(rf"{NUMBER}(,{NUMBER}){{3}},[01],(\d|1[01]),[01],[012],?\s*(\n|$)"),
        read_visdrone, is_per_image=True,
    ),
    "pascal": Tool(
        "texts of PASCAL Annotation Version 1.00", (".txt",),
        has("PASCAL Annotation Version 1.0"), read_pascal, is_per_image=True,
    ),
}  # fmt: skip


def find_tool(path: Path) -> str:
    """The key of the tool that a file, or some file below a folder, is of; "" where there is none.

    Only the beginnings of some files are read.
    """
    suffixes = chain.from_iterable(tool.suffixes for tool in TOOLS.values())
    left = dict.fromkeys(suffixes, _LOOKED_AT)
    for file in walk_files(path)[0] if path.is_dir() else [path]:
        suffix = file.suffix.lower()
        if left.get(suffix, 0) > 0:
            left[suffix] -= 1
            beginning = read_beginning(file, BEGINNING)
            for key, tool in TOOLS.items():
                if suffix in tool.suffixes and tool.is_own(beginning):
                    return key
    return ""


def load_tool(
    path: Path,
    image_folder: Path | None,
    split: str | None,
    default_splits: Sequence[str],
    key: str,
) -> Dataset:
    """Read the annotations of a tool; classes are sorted by name.

    Splits are those that the file gives, or that the names of folders have, and of files for many
    images.

    Args:
        path: a file, or the folder below which all files of the tool count.
        image_folder: the folder of the images; None: they are looked for near the files.
        key: of TOOLS.
    Raises:
        DataError: there are no such files, one of them cannot be read, or no object has a box.
        SplitError: there is no such split.
    """
    tool, name = TOOLS[key], f"{key}:{path.resolve().name}"
    root = path if path.is_dir() else path.parent
    files = _files_of(path, tool)
    if not files:
        raise DataError(f"{path} has no file of {tool.title}", f"expected {key}:PATH")
    every = {file: _read_file(file, tool) for file in files}
    found = {file: [each for each in own if not each.is_unseen] for file, own in every.items()}
    unseen = sum(map(len, every.values())) - sum(map(len, found.values()))
    table = _table(found, root, image_folder, tool)
    if not table.classes:
        raise DataError(f"{path}: {tool.title} has no object with a box", "annotate the images")
    if not table.splits and split is not None:
        raise SplitError(f"{name} has no split {split}", "leave out --split")
    chosen, own = ALL, table
    if table.splits:
        chosen = choose_split(dict.fromkeys(table.splits.values()), name, split, default_splits)
        own = table.of_split(chosen)
    dataset = table_dataset(
        own,
        name=name,
        split=chosen,
        classes=sorted(table.classes),
        file=next((file for file in files if _split_of(file, root, tool) == chosen), files[0]),
        image_folder=image_folder,
        root=image_folder or root,
    )
    if unseen:
        of = counted(unseen, "image that is", "images that are")
        dataset = dataset.with_notes(f"left out {of} in {path.name} but not annotated")
    return dataset if table.splits else dataset.with_notes(*_unnamed(dataset, image_folder or root))


def _unnamed(dataset: Dataset, folder: Path) -> list[str]:
    """A note on images below a folder that are in no file of the tool."""
    every = [path for path in walk_files(folder)[0] if path.suffix.lower() in SUFFIXES]
    named = set(map(os.path.abspath, dataset.paths))
    rest = [path for path in every if os.path.abspath(path) not in named]
    if not rest:
        return []
    return [
        f"left out {counted(len(rest), 'image', 'images')} that no file annotates, first {rest[0]}"
    ]


def _files_of(path: Path, tool: Tool) -> list[Path]:
    """The files of a tool below a folder; a file alone is one, whatever it holds.

    Texts for each image may be empty, so all texts in their folders count.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in walk_files(path)[0] if file.suffix.lower() in tool.suffixes]
    own = [file for file in files if tool.is_own(read_beginning(file, BEGINNING))]
    if not tool.is_per_image or ".txt" not in tool.suffixes:
        return own
    folders = {file.parent for file in own}
    return [file for file in files if file.parent in folders]


def _table(
    found: Mapping[Path, Sequence[Annotated]], root: Path, image_folder: Path | None, tool: Tool
) -> Table:
    """The objects in all files.

    Raises:
        DataError: two files, two subsets in a file, or a file twice, have the same image.
    """
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    splits: dict[str, str] = {}
    origins: dict[str, str] = {}
    left_out = 0
    names = {} if tool.is_per_image else _names(found, root, image_folder)
    notes: list[str] = []
    if tool.is_beside_image:
        names, notes = _names_beside(found, root)
    for file, images in found.items():
        folder, of_file = file.parent.relative_to(root), _split_of(file, root, tool)
        own = names.get(file) or [(folder / each.name).as_posix() for each in images]
        for image, each in zip(own, images, strict=True):
            origin = f"{file}{each.split and f' ({each.split})'}"
            if image in origins:
                both = f"{origins[image]} and {origin} both have"
                twice = f"{origin} has twice"
                raise DataError(
                    f"{twice if origins[image] == origin else both} the image {image}",
                    "keep one of them, or put each with its images into a folder of its own",
                )
            origins[image] = origin
            boxes.setdefault(image, []).extend(each.boxes)
            if each.size is not None:
                sizes[image] = each.size
            split = canonical_split(each.split)
            splits[image] = split if split in SPLITS else of_file
            left_out += each.left_out
    if left_out:
        of = counted(left_out, "shape that encloses", "shapes that enclose")
        notes.append(f"left out {of} no object: points, lines, or regions to be ignored")
    if others := sum(each.others for each in chain.from_iterable(found.values())):
        of = counted(others, "annotation", "annotations")
        notes.append(f"left out {of} of images that have several: the first of each counts")
    if 0 < (without := sum(not each for each in splits.values())) < len(splits):
        of = counted(without, "image is", "images are")
        notes.append(f"{of} in no split, so the splits of the others are not used")
    if empty := sum(not each for each in boxes.values()):
        notes.append(f"took {counted(empty, 'image', 'images')} without a box for background")
    return Table(
        boxes=boxes,
        sizes=sizes,
        notes=tuple(notes),
        splits=splits if all(splits.values()) else {},
    )


def _split_of(file: Path, root: Path, tool: Tool) -> str:
    """The split in the names of a file and its folders below the root; "" where they have none."""
    folders = file.parent.relative_to(root).parts
    words = folders if tool.is_per_image else (*folders, file.stem)
    return next(filter(None, map(split_in_name, reversed(words))), "")


def _names(
    found: Mapping[Path, Sequence[Annotated]], root: Path, image_folder: Path | None
) -> dict[Path, list[str]]:
    """Names of the images in each file that tell those of different files and subsets apart.

    Tools give only the last part of a path. So where that could be ambiguous, an image near its
    file gets its path below the root, and one that is elsewhere the folder of the file.
    """
    names = {file: _with_subsets(images) for file, images in found.items()}
    is_plain = all(names[file] == [each.name for each in found[file]] for file in found)
    if len(found) == 1 and is_plain:
        return names
    files_with = Counter(chain.from_iterable(map(set, names.values())))
    base, locator = image_folder or root, ImageLocator(())
    for file, own in names.items():
        folder = file.parent.relative_to(root)
        places = [base / folder, base] if image_folder else near_folders(file)
        locator = ImageLocator(places, locator)
        is_shared = any(files_with[name] > 1 for name in own)
        for index, name in enumerate(own):
            path = locator.find(local_name(name))
            if path is not None and path.is_relative_to(base):
                own[index] = path.relative_to(base).as_posix()
            elif is_shared:
                own[index] = (folder / local_name(name)).as_posix()
    return names


def _names_beside(
    found: Mapping[Path, Sequence[Annotated]], root: Path
) -> tuple[dict[Path, list[str]], list[str]]:
    """The image beside each file that has its name, though the file may name another one, as it
    does where both were renamed; and a note on files that do."""
    locator = ImageLocator(())
    names, others = {}, []
    for file, (image,) in found.items():
        if bare_name(local_name(image.name)) == bare_name(file.stem):
            continue
        beside = locator.existing(str(file.with_suffix(".jpg")))  # with any ending
        if beside is not None:
            names[file] = [beside.relative_to(root).as_posix()]
        taken = "" if beside is None else f", but goes with {beside.name}"
        others.append(f"{file.name} names {image.name}{taken}")
    if not others:
        return {}, []
    count = counted(len(others), "file names", "files name")
    return names, [f"{count} an image that is called otherwise: {others[0]}"]


def _with_subsets(images: Sequence[Annotated]) -> list[str]:
    """The names of the images of a file, below folders of the subsets if two have the same name."""
    subsets: dict[str, set[str]] = defaultdict(set)
    for each in images:
        subsets[each.name].add(each.split)
    if all(len(own) == 1 for own in subsets.values()):
        return [each.name for each in images]
    return [f"{each.split}/{each.name}" if each.split else each.name for each in images]


def _read_file(file: Path, tool: Tool) -> list[Annotated]:
    """The objects in one file.

    Raises:
        DataError: it cannot be read, or is not as the tool writes it.
    """
    try:
        found = list(tool.read(file))
        if not all(isinstance(each.name, str) and each.name.strip() for each in found):
            raise FormError("an image has no name")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = "a part of it is something else than the tool writes there"
        if isinstance(error, FormError):
            what = reason(error)
        elif isinstance(error, KeyError):
            what = f"it lacks {error}"
        raise DataError(
            f"{file} looks like {tool.title}, but {what}", "export it again, or mend it"
        ) from None
    return found
