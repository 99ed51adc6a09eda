from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from detection_sets import equal, write_log
from frcnn_cli.config import SelectiveSearchConfig
from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.evaluation.compare import compare
from frcnn_cli.evaluation.dataset_reference import DatasetReference
from frcnn_cli.evaluation.detect_dataset import open_log
from frcnn_cli.evaluation.detection_set import (
    compare_detection_sets,
    count_full,
    detect_set,
    load_detection_set,
    proposals_by_digest,
)
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.report.report import write_report
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import PROPOSERS, dense, selective_search
from frcnn_cli.runtime.paths import proposals_dir
from frcnn_cli.structures import Detections, Proposals


@pytest.fixture
def weights(tmp_path) -> Path:
    """Only the name and the hash of the weights matter here."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"weights")
    return path


def detect(detector, dataset, weights, voc_folder, path=None, calls=None):
    reference = DatasetReference(f"voc:{voc_folder}", None, "val")
    calls = [] if calls is None else calls
    with open_log(detector, weights, dataset, reference, path) as log:
        return detect_set(
            detector, dataset, weights=weights, log=log, on_image=lambda: calls.append(1)
        )


def test_detections_of_a_network_come_back_from_their_log(
    detector, dataset, weights, voc_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = detect(detector, dataset, weights, voc_folder)
    assert made.file.parent == Path("runs/eval")
    assert made.file.name.startswith("voc-val-mine-")
    assert (made.new_images, made.title) == (4, "mine")
    assert made.proposals is detector.proposals
    loaded = load_detection_set(made.file, dataset)
    assert all(map(equal, loaded.detections, made.detections))
    assert (loaded.title, loaded.weights, loaded.new_images) == ("mine", "mine", 0)
    assert loaded.evaluate("voc").mean_ap == made.evaluate("voc").mean_ap
    assert len(load_detection_set(made.file, dataset, 2).detections) == 2


def test_logged_images_are_skipped(detector, dataset, weights, voc_folder, tmp_path) -> None:
    path, calls = tmp_path / "d.jsonl", []
    detect(detector, dataset.limited(3), weights, voc_folder, path, calls)
    again = detect(detector, dataset, weights, voc_folder, path, calls)
    assert (again.new_images, len(calls)) == (1, 4)
    assert len(again.detections) == 4


def test_a_log_of_other_weights_is_refused(
    detector, dataset, weights, voc_folder, tmp_path
) -> None:
    detect(detector, dataset, weights, voc_folder, tmp_path / "d.jsonl")
    weights.write_bytes(b"other weights")
    with pytest.raises(DataError, match="other weights, settings or images"):
        detect(detector, dataset, weights, voc_folder, tmp_path / "d.jsonl")


def test_selected_classes(tmp_path, dataset) -> None:
    write_log(tmp_path / "d.jsonl", dataset)
    whole = load_detection_set(tmp_path / "d.jsonl", dataset)
    some = whole.select_classes(["tile", "ball"])
    assert some.dataset.classes == ("tile", "ball")
    every = whole.evaluate("voc").ap_by_class
    assert some.evaluate("voc").ap_by_class == {name: every[name] for name in ("tile", "ball")}
    assert whole.select_classes([]) is whole
    with pytest.raises(ConfigError, match="unknown class 'bal'"):
        whole.select_classes(["bal"])


def test_two_files_are_compared(tmp_path, dataset) -> None:
    write_log(tmp_path / "a.jsonl", dataset)
    a = load_detection_set(tmp_path / "a.jsonl", dataset)
    b = replace(a, detections=a.detections[::-1])
    truths = dataset.ground_truths()
    matched = [match_detections(each.detections, truths, 3) for each in (a, b)]
    expected = compare(*matched, "voc", 20)
    result = compare_detection_sets(a, b, "voc", 20)
    for field, values in asdict(expected).items():
        np.testing.assert_array_equal(getattr(result, field), values)


def store_objects(method, dataset) -> ProposalSource:
    """Put the objects of each image into the cache as its proposals."""
    source = ProposalSource(method, proposals_dir())
    for index in range(len(dataset)):
        content, image, truth = dataset.read(index)
        source.store(content, Proposals(np.rint(truth.boxes), image.shape[:2]))
    return source


@pytest.mark.parametrize("name", list(PROPOSERS))
def test_a_method_is_found_by_its_digest(name) -> None:
    method = PROPOSERS[name](1)
    assert proposals_by_digest(method.digest).method.digest == method.digest


def test_a_method_that_is_only_in_the_cache_is_found(dataset) -> None:
    first_field = next(iter(asdict(SelectiveSearchConfig())))
    method = selective_search()
    method = replace(method, settings={**method.settings, first_field: "of an older version"})
    assert proposals_by_digest(method.digest) is None
    source = store_objects(method, dataset)
    found = proposals_by_digest(method.digest)
    content, image, _ = dataset.read(0)
    assert found.folder == source.folder
    assert np.array_equal(found.cached(content).boxes, source.cached(content).boxes)
    with pytest.raises(DataError, match="is no method of this version"):
        found.method.propose(image)


@pytest.mark.parametrize(
    "digest", [None, 5, "", "dense", "../../etc-0123456789ab", "dense-0123456789ab"]
)
def test_other_digests_give_no_proposals(digest) -> None:
    assert proposals_by_digest(digest) is None


def test_a_settings_file_that_does_not_fit_its_folder(frcnn_home) -> None:
    folder = frcnn_home / "proposals" / "dense-0123456789ab"
    folder.mkdir(parents=True)
    for content in ('{"name": "dense", "settings": {}}', "[]", "no JSON", '{"name": "dense"}'):
        (folder / "method.json").write_text(content)
        assert proposals_by_digest(folder.name) is None


def test_the_report_of_a_log_shows_its_own_proposals(
    detector, dataset, weights, voc_folder, tmp_path
) -> None:
    detector.proposals = store_objects(dense(), dataset)
    made = detect(detector, dataset, weights, voc_folder, tmp_path / "d.jsonl")
    loaded = load_detection_set(tmp_path / "d.jsonl", dataset)
    assert loaded.proposals.folder == detector.proposals.folder
    for each in (made, loaded):
        page = write_report(
            tmp_path / "out",
            each.dataset,
            each.evaluate("voc07"),
            title=each.title,
            proposals=each.proposals,
        )
        text = page.read_text()
        assert "Proposals by dense, cached for 4 of 4 images" in text
        assert '<tr><td>100</td><td data-value="1.000000">1.000</td>' in text


def test_results_of_another_program_know_no_proposals(tmp_path, dataset) -> None:
    (tmp_path / "r.json").write_text("[]")
    loaded = load_detection_set(tmp_path / "r.json", dataset)
    assert (loaded.proposals, loaded.weights, loaded.title) == (None, None, "r")
    assert replace(loaded, weights="runs/lite0.v2.safetensors").title == "lite0.v2"
    assert replace(loaded, weights="lite0.v2").title == "lite0.v2"


def test_only_images_with_many_objects_lose_some_to_the_limit(dataset) -> None:
    counts = [len(each.labels) for each in dataset.ground_truths()]
    image = dataset.size(0)

    def found(count: int) -> Detections:
        boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (count, 1))
        return Detections(
            boxes=boxes,
            scores=np.ones(count, np.float32),
            labels=np.ones(count, np.int64),
            image_size=image,
        )

    most = 2 * max(counts)
    everywhere = [found(most)] * len(dataset)
    assert count_full(dataset, everywhere, most) == counts.count(max(counts))
    assert count_full(dataset, everywhere, most + 1) == 0
    more = [found(most + 2)] * len(dataset)
    assert count_full(dataset, more, most + 2) == 0
    assert count_full(dataset, everywhere, None) == 0
