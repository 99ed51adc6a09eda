"""The settings of a YOLO folder: data.yaml, Darknet's obj.data, or a list of class names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError, reason, short_list
from ..runtime.safe_read import read_beginning, read_text
from ..structures import MAX_CLASSES
from .file_types import SUFFIXES
from .folders import files_around, is_hidden, list_folder
from .splits import SPLITS, split_in_name
from .yolo_rows import begins_with_row

HINT = "expected a YOLO folder: data.yaml with names, images/, labels/"
# files with a class name a line, below the folder
_NAME_FILES = (
    "classes.txt", "labels/classes.txt", "images/classes.txt", "predefined_classes.txt",
    "obj.names", "_darknet.labels", "classes.names", "labels.txt", "names.txt", "class_names.txt",
)  # fmt: skip
# files in folders of splits or texts, as labelImg writes them
_NAME_FILES_BELOW = ("*/_darknet.labels", "*/classes.txt", "*/*/classes.txt")
_TEXT = frozenset({".txt"})
_LOOKED_AT, _ROW = 20, 2**10  # texts beside a list; bytes of each
_MAX_YAML_BYTES = 2**17  # thousands of class names; the parser may take 40 s for 2**20
_MAX_ENTRIES = 2 * MAX_CLASSES  # which take the parser some seconds
_MAX_PARTS = 30  # of a path, of which each end is looked for
_MAX_BRACKETS = 500  # the parser takes the square of their number where they are nested
_MAX_NUMBER = 100  # letters
_NUMBERED = re.compile(r"([0-9]{1,6})(?:\s*[:,;.]\s*|\s+)(\S.*)")
# what the parser raises for damaged files, and for values that are not what their tag says
_YAML_ERRORS = (
    yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a YOLO folder says of itself."""

    root: Path  # the folder
    classes: tuple[str, ...]
    content: Mapping[str, Any]  # of data.yaml or obj.data
    bases: tuple[Path, ...]  # folders that its paths may be relative to, the likeliest first
    keypoints: tuple[int, int] | None  # number, and values of each; (0, 0): there are none
    notes: tuple[str, ...] = ()

    def entries(self, split: str) -> list[str]:
        """The places of a split that the settings name."""
        values = (self.content[key] for key in SPLITS[split] if self.content.get(key))
        return [str(each) for each in _as_list(next(values, []))]


def find_settings(folder: Path) -> Path | None:
    """data.yaml, or the only .yaml file that names classes; None where there is none.

    Raises:
        DataError: several files name classes.
    """
    found = [path for path in list_folder(folder) if path.suffix.lower() in (".yaml", ".yml")]
    files = [path for path in found if not is_hidden(path.name)]
    usual = next((path for path in files if path.stem.lower() == "data"), None)
    if usual is not None or len(files) < 2:
        return usual or next(iter(files), None)
    naming = [path for path in files if "names" in _read_yaml(path)]
    if len(naming) > 1:
        listed = ", ".join(path.name for path in naming[:5])
        raise DataError(f"{folder} has several files of settings: {listed}", "name one of them")
    return next(iter(naming), None)


def read_settings(root: Path) -> Settings:
    """Read the settings of a folder.

    Args:
        root: the folder, or the .yaml or .data file in it.
    Raises:
        DataError: they cannot be read, or name no classes.
    """
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else find_settings(folder)
    file = file or find_darknet(folder)
    if file is not None:
        content: Mapping[str, Any] = (
            _read_darknet(file) if file.suffix == ".data" else _read_yaml(file)
        )
    else:
        content = {}
    classes = _class_names(folder, content)
    bases, note = _bases(folder, str(content.get("path") or "."))
    count = content.get("nc", content.get("classes"))
    notes = [note] if note else []
    if (other := _other_names(folder, classes)) is not None:
        source = file.name if file is not None else "another list"
        notes.append(f"{other} names the classes in another order: those of {source} count")
    if count is not None and str(count) != str(len(classes)):
        notes.append(
            f"the settings say {count!r:.20} classes, but name {len(classes)}: these count"
        )
    return Settings(
        root=folder,
        classes=classes,
        content=content,
        bases=bases,
        keypoints=_keypoints(folder, content),
        notes=tuple(notes),
    )


def find_darknet(folder: Path) -> Path | None:
    """Darknet's file of settings, such as obj.data; None where there is none."""
    files = sorted(folder.glob("*.data"))
    return next((each for each in files if not is_hidden(each.name) and each.is_file()), None)


def find_names(folder: Path) -> Path | None:
    """The list of class names in a folder; None where there is none.

    Of those in the folders of splits or texts, it is the longest.

    Raises:
        DataError: the classes have different numbers in these.
    """
    if (usual := next(iter(_name_files(folder)), None)) is not None:
        return usual
    below = sorted(chain.from_iterable(map(folder.glob, _NAME_FILES_BELOW)))
    lists = {file: _read_names(file) for file in below if _is_beside_texts(file, folder)}
    longest = max(lists, key=lambda file: len(lists[file]), default=None)
    for file, names in lists.items():
        if longest is not None and names != lists[longest][: len(names)]:
            raise DataError(
                f"{longest} and {file} give the classes different numbers",
                "each split needs the same ones: renumber the texts of one, and mend its list",
            )
    return longest


def _is_beside_texts(file: Path, root: Path) -> bool:
    """Whether a list of names is in the folder of a split, or in one of texts and no images."""
    folders = file.parent.relative_to(root).parts
    if not os.path.isfile(file) or any(map(is_hidden, folders)):
        return False
    if len(folders) > 1 and folders[0].lower() != "labels" and not split_in_name(folders[0]):
        return False  # it is of a data set in this folder
    if any(map(split_in_name, folders)):
        return True
    if files_around(file.parent, SUFFIXES):
        return False
    texts = [each for each in files_around(file.parent, _TEXT) if each != file][:_LOOKED_AT]
    return any(begins_with_row(read_beginning(each, _ROW)) for each in texts)


def _name_files(folder: Path) -> list[Path]:
    """The lists of class names that are in no folder of a split, the likeliest first."""
    usual = [path for name in _NAME_FILES if os.path.isfile(path := folder / name)]
    others = [each for each in sorted(folder.glob("*.names")) if not is_hidden(each.name)]
    return usual or (others if len(others) == 1 else [])


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, without blanks around them."""
    return [line.strip() for line in read_text(path, HINT).split("\n") if line.strip()]


class _Loader(yaml.SafeLoader):
    """Makes numbers, texts, lists and dicts; refuses what lets short files take long or grow."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse to use a list or a dict twice: each use of it could double what there is."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(self.anchors.get(event.anchor), yaml.CollectionNode):
                raise yaml.YAMLError(f"*{event.anchor:.20} stands for a list or mapping")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Refuse long numbers, whose conversion takes the square of their length."""
        is_number = node.tag.endswith((":int", ":float"))
        if is_number and len(node.value) > _MAX_NUMBER:
            raise yaml.YAMLError(f"a number has {len(node.value)} digits")
        return super().construct_scalar(node)


class _TextLoader(_Loader):
    """Makes texts of all numbers, dates and words such as yes, as they are written."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none: a text, where it would be found by what is written."""
        return super().resolve(kind, value, (False, False))  # type: ignore[no-untyped-call]


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path, HINT, _MAX_YAML_BYTES)
    if text.count(",") + text.count("\n") > _MAX_ENTRIES:
        raise DataError(f"{path} has more than {_MAX_ENTRIES:,} lines and commas", HINT)
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        raise DataError(f"{path} has more than {_MAX_BRACKETS} brackets", HINT)
    try:
        content = yaml.load(text, _Loader)
        texts = yaml.load(text, _TextLoader)
    except _YAML_ERRORS as error:
        hint = HINT if "\t" not in text else "write blanks in the place of tabs"
        if "\\" in text:
            hint = 'write / for \\, which has a meaning between " and "'
        raise DataError(f"{path} is not YAML: {reason(error)}", hint) from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no settings", HINT)
    for key in ("path", *chain.from_iterable(SPLITS.values())):
        if not all(isinstance(each, str) for each in _as_list(content.get(key) or [])):
            raise DataError(f"{path}: {key} is not a path or list of paths", HINT)
    return {**content, "names": texts["names"]} if content.get("names") is not None else content


def _read_darknet(path: Path) -> dict[str, Any]:
    """The lines `key = value` of Darknet's file; `names` only where that file is here."""
    pairs = (line.partition("=") for line in read_lines(path) if not line.startswith("#"))
    content: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
    names = _find_file(path.parent, content.pop("names", ""))
    return content if names is None else {**content, "names": names}


def _find_file(folder: Path, name: str) -> Path | None:
    """The file that settings in a folder name: below the folder or the one above, with as many of
    its folders as are there."""
    parts = plain_parts(name)
    tails = [Path(*parts[first:]) for first in range(len(parts))]
    places = (base / tail for tail in tails for base in (folder, folder.absolute().parent))
    return next((each for each in places if os.path.isfile(each)), None)  # any length of name


def plain_parts(path: str) -> list[str]:
    """The last folders and the file of a path of any machine, without those that lead upwards."""
    parts = Path(path.replace("\\", "/")).parts
    return [part for part in parts if part not in ("/", ".", "..")][-_MAX_PARTS:]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _bases(folder: Path, path: str) -> tuple[tuple[Path, ...], str]:
    """The folders that `path` in the settings may mean, and a note where it is not here.

    A path of another machine is tried without its leading folders, beside the settings and beside
    their folder.
    """
    plain = folder / path
    if os.path.isdir(plain):
        return (plain,), ""
    parts = plain_parts(path)
    tails = [Path(*parts[first:]) for first in range(len(parts))]
    above = (folder, folder.absolute().parent, folder.absolute().parent.parent)
    found = [base / tail for tail in tails for base in above if os.path.isdir(base / tail)]
    if not found:
        return (plain,), ""
    return (found[0],), f"the folder {path} of the settings is not here, so {found[0]} was read"


def _class_names(folder: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in data.yaml, a list or a mapping from numbers; else those in a list of names."""
    names = content.get("names")
    if names is None:
        file = find_names(folder)
        names = None if file is None else _read_names(file)
    elif isinstance(names, Path):
        names = _read_names(names)
    elif isinstance(names, str):  # a file of names, or the names themselves
        file = _find_file(folder, names)
        listed = [name.strip("\"' ") for name in names.strip("[] ").split(",")]
        names = listed if file is None else _read_names(file)
    elif isinstance(names, dict):
        names = _in_order(folder, names)
    if not isinstance(names, list) or not names:
        raise DataError(f"{folder} names no classes", HINT)
    if not all(isinstance(name, str | int | float) and str(name).strip() for name in names):
        raise DataError(f"{folder}: a class has no name", HINT)
    classes = tuple(str(name).strip() for name in names)
    if len(set(classes)) < len(classes):
        raise DataError(f"{folder}: a class is named twice", HINT)
    return classes


def _other_names(folder: Path, classes: Sequence[str]) -> Path | None:
    """A list of names that has the same classes in another order; None where there is none."""
    for file in _name_files(folder):
        with contextlib.suppress(DataError):  # it is not the one that is read
            names = _read_names(file)
            if names != list(classes) and sorted(names) == sorted(classes):
                return file
    return None


def _read_names(file: Path) -> list[str]:
    """The names in a file with a class a line; the number of a class is that of its line, which may
    be before the name."""
    lines = _unquoted([line.strip() for line in read_text(file, HINT).rstrip().split("\n")])
    if "" in lines and lines != [""]:
        raise DataError(
            f"{file}: line {lines.index('') + 1} is empty, so the numbers of the classes after it "
            "are not certain",
            "remove the line, or write a name into it",
        )
    numbered = list(map(_NUMBERED.fullmatch, lines))
    if len(lines) > 1 and all(each and int(each[1]) == i for i, each in enumerate(numbered)):
        return [each[2] for each in numbered if each]
    return lines if lines != [""] else []


def _unquoted(lines: list[str]) -> list[str]:
    """Lines without commas behind them and quotes around them, where all are written so, as the
    items of a list in a program are."""
    if len(lines) > 1 and all(line.endswith(",") for line in lines[:-1]):
        lines = [line.removesuffix(",").rstrip() for line in lines]
    if all(len(line) > 1 and line[0] == line[-1] and line[0] in "\"'" for line in lines):
        lines = [line[1:-1].strip() for line in lines]
    return lines


def _in_order(folder: Path, names: Mapping[Any, Any]) -> list[Any]:
    """The names in a mapping from their numbers, or of their numbers."""
    for mapping in (names, {value: key for key, value in names.items() if isinstance(value, str)}):
        by_text = {str(key): name for key, name in mapping.items()}
        if len(by_text) == len(names) and set(by_text) == set(map(str, range(len(names)))):
            return [by_text[str(index)] for index in range(len(names))]
    raise DataError(
        f"{folder}: the classes have the numbers {short_list(map(str, names))}",
        f"expected 0 to {len(names) - 1}: renumber them here and in the texts of the boxes",
    )


def _keypoints(folder: Path, content: Mapping[str, Any]) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    numbers = [each for each in _as_list(shape) if type(each) is int]
    if not _as_list(shape):
        return 0, 0
    if len(numbers) != 2 or len(numbers) < len(_as_list(shape)) or numbers[1] not in (2, 3):
        raise DataError(
            f"{folder}: kpt_shape is {shape!r:.80}",
            "expected the number of keypoints, and 2 or 3 values of each, such as [17, 3]",
        )
    return numbers[0], numbers[1]
