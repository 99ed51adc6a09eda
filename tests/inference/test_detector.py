from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.config import DetectConfig
from frcnn_cli.data.collate import collate, preprocess
from frcnn_cli.data.transforms import Normalizer
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, ImageError
from frcnn_cli.evaluation.detect_dataset import detect_all
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference import detector as detector_module
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.drawing import class_colour, draw
from frcnn_cli.inference.result import Failure, Result
from frcnn_cli.models.postprocess import postprocess
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.settings import check
from frcnn_cli.structures import Detections, HeadOutput
from tiny import CLASSES, tiny_detector


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


def test_equal_rois_are_scored_once_with_the_same_result(detector, voc_folder) -> None:
    path = voc_folder / "JPEGImages" / "000001.jpg"
    found = next(detector.run([path]))
    content = path.read_bytes()
    prepared = detector.preprocess(content, found.image)
    batch = collate([prepared])
    normalize = Normalizer(detector.header.pixels, detector.device)
    with torch.inference_mode():
        output = detector.network(normalize(batch.images, batch.sizes), batch.rois)
    size, labels = prepared.original_size, (1, 2, 3)
    plain = postprocess(
        output,
        prepared.rois,
        size,
        labels=labels,
        score_function=SCORE_FUNCTIONS["softmax"],
        config=DetectConfig(score_threshold=0.2),
    )
    assert len(plain) > 3
    np.testing.assert_array_equal(found.detections.labels, plain.labels)
    np.testing.assert_allclose(found.detections.scores, plain.scores, atol=1e-5)
    np.testing.assert_allclose(found.detections.boxes, plain.boxes, atol=1e-2)


def test_a_broken_file_does_not_stop_the_others(detector, voc_folder, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    good = sorted((voc_folder / "JPEGImages").glob("*.jpg"))[:2]
    results = list(detector.run([good[0], broken, good[1]]))
    assert [each.name for each in results] == [str(good[0]), str(broken), str(good[1])]
    assert [type(each) for each in results] == [Result, Failure, Result]
    assert isinstance(results[1].error, ImageError)


def test_evaluation_runs_the_detector_on_every_image(detector, voc_folder) -> None:
    dataset = load_voc(voc_folder, "voc", "val", ())
    seen = []
    result = evaluate(detector, dataset, workers=1, on_image=lambda: seen.append(1))
    assert len(seen) == len(dataset)
    truth = [dataset.ground_truth(index) for index in range(len(dataset))]
    assert result.object_counts.sum() == sum((~each.difficult).sum() for each in truth)
    assert 0 <= result.mean_ap <= 1


@pytest.mark.parametrize(
    "setting", [{"score_threshold": 50}, {"nms_threshold": 30}, {"max_proposals": 0}], ids=str
)
def test_settings_out_of_range_find_nothing_in_silence_no_more(detector, setting) -> None:
    config = replace(detector.config, **setting)
    with pytest.raises(ConfigError, match="is out of range"):
        Detector(detector.network, detector.header, detector.proposals, config, "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "mps"])
def test_unknown_device(detector, name) -> None:
    with pytest.raises(ConfigError):
        Detector(detector.network, detector.header, detector.proposals, detector.config, name)


def test_drawing_marks_the_box_in_the_colour_of_the_class() -> None:
    image = np.full((100, 120, 3), 128, np.uint8)
    boxes = np.array([[20, 30, 80, 90]], np.float32)
    found = Detections(
        boxes=boxes, scores=np.array([0.9], np.float32), labels=np.array([2]), image_size=(100, 120)
    )
    picture = np.asarray(draw(image, found, CLASSES))
    assert tuple(picture[60, 20]) == class_colour(2)
    assert tuple(picture[89, 50]) == class_colour(2)
    assert tuple(picture[60, 50]) == (128, 128, 128)
    assert (image == 128).all()


def test_drawing_on_one_pixel() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    found = Detections(
        boxes=np.array([[0, 0, 1, 1]], np.float32),
        scores=np.array([0.5], np.float32),
        labels=np.array([1]),
        image_size=(1, 1),
    )
    assert draw(image, found, CLASSES).size == (1, 1)


def test_classes_differ_in_colour() -> None:
    colours = np.array([class_colour(label) for label in range(1, 21)])
    distances = np.linalg.norm(colours[:, None] - colours, axis=2) + 999 * np.eye(20)
    assert distances.min() > 30
    assert np.diagonal(distances, 1).min() > 100


def labels_in(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of a colour."""
    return int((picture == colour).all(axis=2).sum())


def test_labels_do_not_cover_one_another() -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    boxes = np.array([[50, 100, 250, 250]] * 3, np.float32)
    counts = []
    for labels in ([1], [2], [3], [1, 2, 3]):
        found = Detections(
            boxes=boxes[: len(labels)],
            scores=np.full(len(labels), 0.9, np.float32),
            labels=np.array(labels),
            image_size=(300, 300),
        )
        picture = np.asarray(draw(image, found, CLASSES))
        # without the box, whose lines are those of the best one
        picture = np.concatenate([picture[:98], picture[252:], picture[104:246, 54:246]], axis=None)
        picture = picture.reshape(-1, 1, 3)
        counts.append([labels_in(picture, class_colour(label)) for label in (1, 2, 3)])
    alone = np.array(counts[:3]).sum(axis=0)
    assert (alone > 200).all()
    np.testing.assert_allclose(counts[3], alone, rtol=0.35)


@pytest.mark.parametrize("side", [20, 200, 4000])
def test_a_label_is_inside_the_picture_and_grows_with_it(side) -> None:
    image = np.full((side, side, 3), 128, np.uint8)
    for x, y in ((0, 0), (side - 5, 0), (0, side - 5), (side - 5, side - 5)):
        found = Detections(
            boxes=np.array([[x, y, x + 5, y + 5]], np.float32),
            scores=np.array([0.5], np.float32),
            labels=np.array([1]),
            image_size=(side, side),
        )
        picture = np.asarray(draw(image, found, CLASSES))
        letters = (picture < 20).all(axis=2).sum() + (picture > 250).all(axis=2).sum()
        assert letters > max(10, (side / 50) ** 2)


def test_images_of_one_size_in_a_pass_give_the_same(detector, voc_folder) -> None:
    dataset = load_voc(voc_folder, "voc", "trainval", ())
    seen: list[int] = []
    passes: list[int] = []
    alone = detect_all(detector, dataset, workers=1)
    launch = detector.launch

    def counted(images):
        passes.append(len(images))
        return launch(images)

    detector.launch = counted
    # the folder's images have three sizes in turn; those of a size wait for each other
    twice = replace(
        dataset,
        ids=tuple(f"{name}{part}" for name in dataset.ids for part in "ab"),
        paths=tuple(path for path in dataset.paths for _ in "ab"),
        annotations=tuple(each for each in dataset.annotations for _ in "ab"),
    )
    together = detect_all(detector, twice, workers=1, on_image=lambda: seen.append(1), batch=4)
    assert passes == [4, 4, 4, 2, 2]
    assert len(seen) == len(together) == 2 * len(dataset)
    for index, found in enumerate(together):
        np.testing.assert_array_equal(found.labels, alone[index // 2].labels)
        np.testing.assert_allclose(found.scores, alone[index // 2].scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, alone[index // 2].boxes, atol=1e-2)


def test_boxes_at_several_scales(monkeypatch, tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    plain = tiny_detector(monkeypatch, tmp_path)

    def found(**settings) -> Detections:
        config = replace(plain.config, **settings)
        detector = Detector(plain.network, plain.header, plain.proposals, config, "cpu")
        return detector.detect(detector.preprocess(None, image))

    own = plain.header.scale
    for detections in (found(scales=(own,)), found(scales=(own, own))):
        assert np.array_equal(detections.boxes, plain.detect(plain.preprocess(None, image)).boxes)
    # the largest scale serves every box of a small picture, the smallest none
    assert np.array_equal(found(scales=(32, own)).boxes, found(scales=(own,)).boxes)
    mixed = found(scales=(own, 2 * own), max_size=4 * own)
    assert len(mixed) > 0
    assert mixed.image_size == (120, 160)


@pytest.mark.parametrize("geometry", ["torch", "caffe"])
def test_views_are_averaged(geometry, monkeypatch, tmp_path) -> None:
    """Two views, one of them mirrored, against a network that looks at each by itself."""
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    plain = tiny_detector(monkeypatch, tmp_path, geometry=geometry)
    network, header, proposals = plain.network, plain.header, plain.proposals

    def detector(header=header, **settings) -> Detector:
        config = replace(plain.config, **settings)
        return Detector(network, header, proposals, config, "cpu")

    own = header.scale
    views = (own, 2 * own)
    monkeypatch.setattr(detector_module, "LEAST_SCORE", 0.2)  # which some RoIs have
    averaging = detector(views=views, max_size=4 * own, score_threshold=0.5)
    found = averaging.detect(averaging.preprocess(None, image))

    last = geometry == "caffe"  # 1 where boxes end with their last pixel
    normalize = Normalizer(header.pixels, plain.device)
    rois = plain.preprocess(None, image).rois
    logits, deltas = 0, 0
    for side, is_mirrored in zip(views, (False, True), strict=True):
        turned, boxes = image, rois
        if is_mirrored:
            turned = np.ascontiguousarray(image[:, ::-1])
            boxes = np.array(
                [[160 - last - x2, y1, 160 - last - x1, y2] for x1, y1, x2, y2 in rois]
            )
        batch = collate([preprocess(turned, boxes.astype(np.float32), side, 4 * own)])
        with torch.inference_mode():
            output = network(normalize(batch.images, batch.sizes), batch.rois)
        moves = output.box_deltas.clone()
        if is_mirrored:
            moves[:, :, 0] *= -1  # to the right has become to the left
        if not is_mirrored:
            first = output.class_logits.softmax(dim=1)[:, 1:].amax(dim=1)
        logits, deltas = logits + output.class_logits / 2, deltas + moves / 2
    again = first > 0.2  # the others are looked at once
    mean = logits.softmax(dim=1)[:, 1:].amax(dim=1)
    assert 3 < again.sum() < len(rois)
    assert (again & (first < 0.5) & (mean > 0.5)).any()  # not lost for a low first score
    expected = postprocess(
        HeadOutput(logits[again], deltas[again]),
        rois[again.numpy()],
        (120, 160),
        labels=(1, 2, 3),
        score_function=SCORE_FUNCTIONS["softmax"],
        ends_are_inside=bool(last),
        config=averaging.config,
    )
    assert len(found) > 3
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)

    # the weights' own views, unless others or scales are asked for; one view is no average
    usual = plain.detect(plain.preprocess(None, image))
    viewing = replace(header, views=views, max_size=4 * own)
    same = detector(viewing, score_threshold=0.5)
    assert np.array_equal(same.detect(same.preprocess(None, image)).boxes, found.boxes)
    for settings in ({"views": (own,)}, {"scales": (own,)}):
        single = detector(viewing, **settings)
        assert np.array_equal(single.detect(single.preprocess(None, image)).boxes, usual.boxes)
    with pytest.raises(ConfigError, match="--views 96 is out of range"):
        check(replace(plain.config, views=(96,), scales=(96,)))


def test_without_regression_the_proposals_are_the_boxes(monkeypatch, tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    plain = tiny_detector(monkeypatch, tmp_path)
    config = replace(plain.config, box_regression=False)
    detector = Detector(plain.network, plain.header, plain.proposals, config, "cpu")
    prepared = detector.preprocess(None, image)
    proposals = {tuple(box) for box in np.round(prepared.rois, 2).tolist()}
    boxes = np.round(detector.detect(prepared).boxes, 2).tolist()
    assert len(boxes) > 0
    assert all(tuple(box) in proposals for box in boxes)
