import numpy as np
import pytest

from frcnn_cli.proposers.method import Method
from frcnn_cli.structures import Proposals


def nothing(image):
    return Proposals(np.zeros((0, 4), np.float32), image.shape[:2])


def digest(settings, name="counted"):
    return Method(name, nothing, settings).digest


def test_a_known_digest():
    assert digest({"size": 1}) == "counted-9d59484c7f2b"


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"size": 2}, "counted"), ({"size": 1}, "other"), ({"sise": 1}, "counted")],
)
def test_the_digest_depends_on_name_and_settings(settings, name):
    assert digest(settings, name) != digest({"size": 1})


def test_the_order_of_the_settings_does_not_matter():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": (2, 3), "a": 1})
