"""Everything that only a GPU can answer, in the few minutes that one may be at hand.

    python benchmarks/on_gpu.py --data VOCdevkit --init vgg16.pth [--phase checks speed train]

The phases, of which each writes its results to results.json in --out as soon as it ends:

    checks  is what a GPU computes what the CPU computes: RoI pooling, logits, gradients, losses,
            resumed training, detections, mAP
    speed   training against the plain loop of train_step.py, detection whole and at rank 256, and
            torchvision's Faster R-CNN; where the program waits; the longest kernels; memory
    train   VGG16 for --seconds, compressed afterwards, both judged on val; the weights are written
            in parts of 15 MiB, which --join puts together

Data can come in pieces: tar files of the folder VOCdevkit, given with --archives, are unpacked into
--data. A run that was stopped is resumed. Without a GPU the same runs on the CPU with --tiny, which
takes minutes and shows that the script works; figures then say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from frcnn_cli.runtime.device import pick_device
from gpu.checks import CHECKS
from gpu.setting import Setting, threads, unpack
from gpu.speed import SPEEDS
from gpu.training import join_parts, train_and_judge


def machine(device: torch.device) -> dict[str, object]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return {
        "device": name,
        "cores": threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def jobs_of(phases: list[str], args: argparse.Namespace) -> dict[str, Callable[[Setting], object]]:
    """Name -> the function of each part of the phases."""
    parts = {"checks": CHECKS, "speed": SPEEDS}
    jobs = {work.__name__: work for phase in phases for work in parts.get(phase, ())}
    if "train" in phases:
        jobs["train"] = lambda setting: train_and_judge(
            setting, args.recipe, args.split, args.seconds
        )
    return jobs


def run(jobs: dict[str, Callable[[Setting], object]], setting: Setting) -> dict[str, object]:
    """Run every job, and write all results after each; one that fails does not stop the others."""
    results: dict[str, object] = {"machine": machine(setting.device)}
    setting.out.mkdir(parents=True, exist_ok=True)
    for name, job in jobs.items():
        begun = time.monotonic()
        try:
            found: object = job(setting)
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
            traceback.print_exc()
        results[name] = found
        (setting.out / "results.json").write_text(json.dumps(results, indent=1, default=str))
        print(f"--- {name}, {time.monotonic() - begun:.1f} s", flush=True)
        show(found)
    return results


def show(found: object) -> None:
    """Print the results of a job, a line each."""
    assert isinstance(found, dict)
    for key, value in found.items():
        if isinstance(value, dict) and "ok" in value:
            limit = f" (at most {value['limit']:g})" if "limit" in value else ""
            number = value["value"]
            text = f"{number:.3g}" if isinstance(number, float | int) else number
            print(f"  {'ok   ' if value['ok'] else 'WRONG'} {key}: {text}{limit}")
        elif isinstance(value, list):
            print(f"  {key}:", *value, sep="\n    ")
        else:
            print(f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}")
    print(end="", flush=True)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, help="VOCdevkit, or another data set")
    options.add_argument("--archives", type=Path, nargs="*", default=[])
    options.add_argument("--init", type=Path, help="ImageNet weights of VGG16 [default: random]")
    options.add_argument("--weights", default="squeezenet1_1-voc07-train")
    options.add_argument("--phase", nargs="*", default=["checks", "speed", "train"])
    options.add_argument("--device", default="auto")
    options.add_argument("--tiny", action="store_true", help="small enough for a CPU")
    options.add_argument("--iterations", type=int, default=200, help="of the timed training")
    options.add_argument("--images", type=int, default=500, help="of val, to judge on")
    options.add_argument("--recipe", default="paper")
    options.add_argument("--split", default="train")
    options.add_argument("--seconds", type=float, default=300, help="of training")
    options.add_argument("--out", type=Path, default=Path("runs/gpu"))
    options.add_argument("--work", type=Path, default=Path("runs/gpu"), help="proposals and runs")
    options.add_argument("--join", type=Path, help="a file ending in .part0; nothing else is done")
    return options


def main() -> None:
    """Run the chosen phases; exit with 1 where something is wrong."""
    args = parser().parse_args()
    if args.join is not None:
        print(join_parts(args.join))
        return
    if args.archives:
        unpack(args.archives, args.data)
    if args.data is None or not args.data.is_dir():
        print("skipped: needs VOC2007 or another data set (--data)")
        return
    setting = Setting(
        device=pick_device(args.device),
        data=args.data,
        init=args.init,
        weights=args.weights,
        out=args.out,
        work=args.work,
        tiny=args.tiny,
        iterations=3 if args.tiny else args.iterations,
        images=6 if args.tiny else args.images,
    )
    results = run(jobs_of(args.phase, args), setting)
    text = json.dumps(results, default=str)
    if '"ok": false' in text or '"failed"' in text:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
