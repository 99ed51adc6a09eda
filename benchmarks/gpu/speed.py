"""How fast are training and detection on the device?"""

from __future__ import annotations

import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from detect_speed import at_rank, network
from frcnn_cli.checkpoints.weights import WeightsHeader
from frcnn_cli.config import DetectConfig
from frcnn_cli.data.collate import PreprocessedImage
from frcnn_cli.inference.batching import ReadFailure, ReadImage
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.runtime.device import peak_bytes
from frcnn_cli.runtime.timing import synchronized_time
from frcnn_cli.training.learner import Learner
from frcnn_cli.training.trainer import Trainer
from train_step import PAPER_ITERATIONS, PlainLoop, use_plain_convolutions

from .setting import Setting, threads

WARM_UP = 5  # iterations or images that are not timed
PAPER_HOURS = 9.5  # of VGG16's 40,000 iterations on a K40 (Fast R-CNN, table 4)
PAPER_SECONDS = {"whole": 0.32, "rank 256": 0.22}  # an image (the paper's ranks are 1024 and 256)


def milliseconds(work: Callable[[], object], device: torch.device, count: int) -> float:
    """The median time of a call, in milliseconds; each call is timed until the device is done."""
    times = []
    for number in range(count + WARM_UP):
        begun = synchronized_time(device)
        work()
        if number >= WARM_UP:
            times.append(1000 * (synchronized_time(device) - begun))
    return statistics.median(times)


def device_milliseconds(work: Callable[[], object], device: torch.device, count: int) -> float:
    """The mean time between the starts of calls that are queued without waiting."""
    for _ in range(WARM_UP):
        work()
    begun = synchronized_time(device)
    for _ in range(count):
        work()
    return 1000 * (synchronized_time(device) - begun) / count


@contextmanager
def counted_waits(device: torch.device) -> Iterator[Counter[str]]:
    """Count the places at which the program waits for the GPU, as torch reports them."""
    places: Counter[str] = Counter()
    if device.type != "cuda":
        yield places
        return

    def note(message: object, category: object, file: str, line: int, *_: object) -> None:
        if "synchroniz" in str(message):
            places[f"{'/'.join(Path(file).parts[-2:])}:{line}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        previous, warnings.showwarning = warnings.showwarning, note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = previous


def profiled(work: Callable[[], object], device: torch.device, out: Path) -> list[str]:
    """The 20 kernels that take the most time, as lines of text; the whole table goes to a file."""
    if device.type != "cuda":
        return []
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        for _ in range(5):
            work()
        torch.cuda.synchronize(device)
    table = found.key_averages().table(sort_by="self_cuda_time_total", row_limit=60)
    out.write_text(table)
    kernels = [
        e for e in found.key_averages() if e.self_device_time_total > 0 and not e.cpu_time_total
    ]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    return [
        f"{event.self_device_time_total / 5000:.3f} ms {event.count // 5}x {event.key[:90]}"
        for event in kernels[:20]
    ]


def training_speed(setting: Setting) -> dict[str, object]:
    """Ours, with its loader, against the plain loop on batches that are ready."""
    device, found = setting.device, dict[str, object]()
    ours = setting.learner(str(device), "auto", iterations=setting.iterations + WARM_UP)
    with TemporaryDirectory() as folder:
        begun, seconds, waited = 0.0, [], 0.0
        for metrics in Trainer(ours, folder=Path(folder)).steps():
            if metrics.iteration == WARM_UP:
                begun = time.perf_counter()
            elif metrics.iteration > WARM_UP:
                seconds.append(metrics.seconds)
                waited += metrics.waited
                ended = time.perf_counter()
    mean = (ended - begun) / setting.iterations
    found["ours, ms an iteration, with its loader"] = 1000 * mean
    found["ours, median ms"] = 1000 * statistics.median(seconds)
    found["ours, waited for batches"] = waited / sum(seconds)
    found["40,000 iterations, hours"] = PAPER_ITERATIONS * mean / 3600
    found["the paper's hours over ours (other GPU)"] = (
        PAPER_HOURS * 3600 / (PAPER_ITERATIONS * mean)
    )
    found["memory, MiB"] = peak_bytes(device) / 2**20
    batches = [pinned(ours, number) for number in range(8)]
    ours.iteration = 0

    def step(learner: Learner = ours) -> None:
        learner.step(batches[learner.iteration % 8])

    count = min(30, setting.iterations)
    found["ours, ms, ready batches"] = device_milliseconds(step, device, count)
    with counted_waits(device) as waits:
        step()
    found["ours, waits for the GPU in a step"] = dict(waits)
    found["ours, kernels"] = profiled(step, device, setting.out / "profile_training.txt")
    for name, precision in (("fp32", None), ("autocast", torch.bfloat16)):
        learner = setting.learner(str(device), "fp32", iterations=setting.iterations + WARM_UP)
        loop = PlainLoop(use_plain_convolutions(learner.network), learner.batches, precision)
        numbers = iter(range(1000))
        if setting.tiny and precision is not None:
            continue  # emulated on many CPUs

        def plain(loop: PlainLoop = loop, numbers: Iterator[int] = numbers) -> None:
            number = next(numbers)
            loop.step_on(batches[number % 8], number % 8)

        found[f"plain loop, {name}, ms, ready batches"] = device_milliseconds(plain, device, count)
        if name == "fp32":
            begun = synchronized_time(device)
            for number in range(5):
                loop.step(number)
            found["plain loop, fp32, ms with its data"] = 200 * (synchronized_time(device) - begun)
    return found


def pinned(learner: Learner, iteration: int):  # type: ignore[no-untyped-def]
    """A batch as the loader gives it."""
    batch = learner.batches(iteration)
    return batch.pin_memory() if learner.device.type == "cuda" else batch


def compiled_speed(setting: Setting) -> dict[str, object]:
    """A step on one batch, as it is and with its convolutions compiled by torch.compile."""
    device, found = setting.device, dict[str, object]()
    if device.type != "cuda":
        return {"torch.compile": "needs a GPU"}
    for name, compiled in (("as it is", False), ("compiled", True)):
        learner = setting.learner(str(device), "auto", compiled=compiled)
        batch = pinned(learner, 0)
        begun = synchronized_time(device)
        learner.step(batch)
        found[f"{name}, s, first step"] = synchronized_time(device) - begun
        step = partial(learner.step, batch)
        found[f"{name}, ms, ready batch"] = device_milliseconds(step, device, 30)
    return found


def faster_rcnn_speed(setting: Setting) -> dict[str, object]:
    """torchvision's Faster R-CNN, for comparison: another detector, with its own proposals."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    device = setting.device
    size = (96, 128) if setting.tiny else (600, 800)
    model = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=21, min_size=size[0], max_size=size[1]
    )
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images = [torch.rand(3, *size, device=device) for _ in range(2)]
    box = torch.tensor([[10.0, 10.0, 80.0, 90.0]], device=device)
    targets = [{"boxes": box, "labels": torch.ones(1, dtype=torch.int64, device=device)}] * 2

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            losses = model(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    count = 2 if setting.tiny else 20
    found: dict[str, object] = {
        "fasterrcnn_resnet50_fpn, autocast, ms an iteration": milliseconds(step, device, count)
    }
    model.eval()

    @torch.inference_mode()
    def detect() -> None:
        model(images[:1])

    found["fasterrcnn_resnet50_fpn, fp32, ms an image"] = milliseconds(detect, device, count)
    return found


def detection_speed(setting: Setting) -> dict[str, object]:
    """Images a second of the whole and the low-rank network, from images that are read already."""
    device, found = setting.device, dict[str, object]()
    header = WeightsHeader(
        backbone=setting.backbone,
        classes=tuple(map(str, range(20))),
        pixels=CAFFE_PIXELS,
        scale=128 if setting.tiny else 600,
        max_size=213 if setting.tiny else 1000,
    )
    dataset = setting.dataset("val", 4 if setting.tiny else 100)
    ready: list[ReadImage[int]] = []
    for precision in ("fp32",) if setting.tiny else ("auto", "fp32"):
        config = DetectConfig(precision=precision)  # type: ignore[arg-type]
        full = Detector(network(setting.backbone), header, setting.source(), config, str(device))
        if not ready:
            for read in full.read_each(range(len(dataset)), dataset.read_image, threads()):
                assert not isinstance(read, ReadFailure)
                ready.append(read)
        for name, detector in (("whole", full), ("rank 256", at_rank(full, str(device)))):
            found |= one_detector(f"{name}, {detector.dtype}", PAPER_SECONDS[name], detector, ready)
        if precision == "auto":
            found |= inspect(full, ready[0].preprocessed, setting.out / "profile_detection.txt")
    found["RoIs in an image"] = statistics.fmean(each.preprocessed.roi_count for each in ready)
    return found


def one_detector(
    name: str, paper_seconds: float, detector: Detector, ready: list[ReadImage[int]]
) -> dict[str, object]:
    """The rates of a detector in passes of one and eight images."""
    found: dict[str, object] = {}
    for batch in (1, 8):
        rate = images_per_second(detector, ready, batch)
        found[f"{name}, batch {batch}, images/s"] = rate
    found[f"{name}, the paper's time over ours (other GPU)"] = paper_seconds * rate
    one = [ready[0].preprocessed]
    queued = device_milliseconds(lambda: detector.launch(one), detector.device, 20)
    found[f"{name}, ms an image, queued"] = queued
    return found


def inspect(detector: Detector, image: PreprocessedImage, out: Path) -> dict[str, object]:
    """Where detection in an image waits, and its longest kernels."""
    with counted_waits(detector.device) as waits:
        detector.detect(image)
    kernels = profiled(lambda: detector.detect(image), detector.device, out)
    return {"waits for the GPU in an image": dict(waits), "kernels of detection": kernels}


def images_per_second(detector: Detector, ready: list[ReadImage[int]], batch: int) -> float:
    """Detection through the pipeline, without reading."""
    fixed = replace_reading(detector, ready)
    for _ in fixed.detect_each(range(min(8, len(ready))), dict, workers=1, batch=batch):
        pass
    begun = synchronized_time(detector.device)
    count = sum(1 for _ in fixed.detect_each(range(len(ready)), dict, workers=1, batch=batch))
    return count / (synchronized_time(detector.device) - begun)


class _Ready(Detector):
    """A detector whose images are read already."""

    ready: list[ReadImage[int]]

    def read_each(self, items, read, workers):  # type: ignore[no-untyped-def]
        """See `Detector.read_each`."""
        return (self.ready[item] for item in items)


def replace_reading(detector: Detector, ready: list[ReadImage[int]]) -> _Ready:
    """The detector with images that are read already."""
    fixed = _Ready.__new__(_Ready)
    fixed.__dict__.update(detector.__dict__, ready=ready)
    return fixed


SPEEDS: tuple[Callable[[Setting], dict[str, object]], ...] = (
    training_speed,
    compiled_speed,
    detection_speed,
    faster_rcnn_speed,
)
