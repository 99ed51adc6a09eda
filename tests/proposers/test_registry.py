import numpy as np
import pytest

from frcnn_cli.config import SEARCH_MODES
from frcnn_cli.errors import DataError
from frcnn_cli.proposers.registry import DEFAULT, PROPOSERS, from_file


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_method_keeps_the_contract(name):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    method = PROPOSERS[name](1)
    found = method.propose(image)
    assert found.image_size == (60, 80)
    assert len(found.boxes) >= 1
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= [80, 60]).all()
    assert found.boxes.tobytes() == method.propose(image).boxes.tobytes()
    assert PROPOSERS[name](3).propose(image).boxes.tobytes() == found.boxes.tobytes()


def test_no_two_methods_share_a_digest_and_threads_change_none():
    digests = {build(1).digest for build in PROPOSERS.values()}
    assert len(digests) == len(PROPOSERS)
    assert digests == {build(4).digest for build in PROPOSERS.values()}


def test_the_default_is_the_mode_fast_and_its_cache_is_found_again():
    assert set(SEARCH_MODES) < set(PROPOSERS)
    # changes with the settings alone; caches lie in a folder of this name
    assert PROPOSERS[DEFAULT](1).digest == "selective_search-212a5dcb5edd"


def test_a_file_is_known_by_its_content(tmp_path):
    for name, content in {"a.mat": b"x", "b.mat": b"x", "c.mat": b"y"}.items():
        (tmp_path / name).write_bytes(content)
    one, two, three = (from_file(tmp_path / f"{name}.mat").digest for name in "abc")
    assert one == two != three


def test_a_file_that_was_not_imported_says_so(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"x")
    method = from_file(tmp_path / "a.mat")
    with pytest.raises(DataError, match=r"a\.mat has no boxes for one of the images"):
        method.propose(np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError, match="cannot read"):
        from_file(tmp_path / "missing.mat")
