from __future__ import annotations

from pathlib import Path

import pytest

from frcnn_cli.data.dataset import match_classes
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError


@pytest.mark.parametrize(
    ("own", "others", "renamed"),
    [
        (["cat", "dog"], ["dog", "cat"], {"cat": "cat", "dog": "dog"}),
        (["potted plant", "TV-Monitor"], ["pottedplant", "tv_monitor"], None),
        (["Cat", "cat"], ["cat"], {"cat": "cat"}),
        (["Cat", "CAT"], ["cat"], {"Cat": "cat"}),
        (["a b", "ab"], ["ab", "a-b"], {"ab": "ab", "a b": "a-b"}),
        ([], ["x"], {}),
    ],
)
def test_classes_are_matched_by_name(own, others, renamed) -> None:
    result = match_classes(own, others)
    expected = dict(zip(own, others, strict=True)) if renamed is None else renamed
    assert result.renamed == expected
    assert result.only_here == tuple(name for name in own if name not in expected)
    assert result.only_there == tuple(n for n in others if n not in expected.values())


def test_numbers_follow_the_other_classes(voc_folder: Path) -> None:
    own = load_voc(voc_folder, "mine", "trainval", ())
    other = own.with_classes(("zebra", "TILE", "ball"))
    for index in range(len(own)):
        before = [own.classes[k - 1] for k in own.ground_truth(index).labels]
        after = [other.classes[k - 1].lower() for k in other.ground_truth(index).labels]
        assert after == [name for name in before if name != "box"]
    with pytest.raises(DataError, match="none of the classes"):
        own.with_classes(("zebra",))


def test_limited_keeps_the_first(voc_folder: Path) -> None:
    whole = load_voc(voc_folder, "mine", "trainval", ())
    assert whole.limited(3).ids == whole.ids[:3]
    assert len(whole.limited(3).paths) == len(whole.limited(3).annotations) == 3
    assert whole.limited(None) == whole


def test_annotations_will_do_where_there_is_no_picture(voc_folder: Path) -> None:
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    expected = dataset.ground_truth(0)
    dataset.paths[0].unlink()
    assert dataset.ground_truth(0).boxes.tolist() == expected.boxes.tolist()
