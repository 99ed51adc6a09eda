from __future__ import annotations

import pytest

from frcnn_cli import errors
from frcnn_cli.errors import reason, shortened


@pytest.mark.parametrize(
    "kind", [errors.ConfigError, errors.DataError, errors.ImageError, errors.WeightsError]
)
def test_every_error_is_a_frcnn_error(kind: type[errors.FrcnnError]) -> None:
    with pytest.raises(errors.FrcnnError) as caught:
        raise kind("what happened", "what to do")
    assert caught.value.message == "what happened"
    assert caught.value.hint == "what to do"
    assert str(caught.value) == "what happened"


def test_error_types_are_distinct() -> None:
    kinds = [errors.ConfigError, errors.DataError, errors.ImageError, errors.WeightsError]
    for kind in kinds:
        others = tuple(other for other in kinds if other is not kind)
        assert not issubclass(kind, others)


def test_hint_may_be_left_out() -> None:
    assert errors.DataError("alone").hint == ""


@pytest.mark.parametrize(
    ("got", "near"), [("vgg61", "vgg16"), ("alexnt", "alexnet"), ("resnet15", "resnet18")]
)
def test_unknown_name_offers_the_nearest(got: str, near: str) -> None:
    known = {"alexnet": 1, "vgg16": 2, "resnet18": 3}
    error = errors.unknown_name("backbone", got, known)
    assert isinstance(error, errors.ConfigError)
    assert error.message == f"unknown backbone {got!r}"
    assert error.hint == f"did you mean {near!r}? known: alexnet, vgg16, resnet18"


@pytest.mark.parametrize("got", ["", "zzzzzz", "completely different"])
def test_a_very_different_name_gets_no_suggestion(got: str) -> None:
    error = errors.unknown_name("recipe", got, iter(["paper", "modern"]))
    assert error.hint == "known: paper, modern"
    assert repr(got) in error.message


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("one line"), "one line"),
        (RuntimeError("first\nsecond"), "first"),
        (EOFError(), "EOFError"),
        (MemoryError(""), "MemoryError"),
    ],
)
def test_reason_is_one_line_and_never_empty(error: Exception, text: str) -> None:
    assert errors.reason(error) == text


def test_errors_with_many_names_stay_short() -> None:
    known = [f"class {number:04d}" for number in range(1201)] + ["disc, plate", "x" * 500]
    error = errors.unknown_name("class", "clas 0700", known)
    assert error.hint.startswith("did you mean 'class 0700'? known: class 0000, class 0001")
    assert error.hint.endswith("class 0009 and 1193 others")
    assert len(error.hint) < 300
    assert len(errors.unknown_name("class", "y" * 10_000, known).message) < 300
    assert len(errors.short_list(["x" * 500])) < 100
    assert errors.short_list(map(str, range(20))).endswith("18, 19")


def test_numbers_and_what_they_count() -> None:
    assert [errors.counted(n, "image", "images") for n in (0, 1, 2)] == [
        "0 images",
        "1 image",
        "2 images",
    ]


def test_the_middle_of_long_paths_is_left_out() -> None:
    path = "/".join(["d" * 99] * 50)
    text = shortened(f"cannot read {path}/end.jpg: no such file")
    assert text.startswith("cannot read ddd")
    assert text.endswith("/end.jpg: no such file")
    assert len(text) < 300
    assert shortened(f"no file {'a' * 249} here") == f"no file {'a' * 249} here"


def test_reasons_have_no_number() -> None:
    assert reason(OSError(36, "File name too long", "a")) == "File name too long: 'a'"
    assert reason(ValueError("[a] b\nc")) == "[a] b"
    assert reason(ValueError()) == "ValueError"
