"""Training speed on one GPU; `benchmarks/gpu.sh` runs it.

    python benchmarks/_gpu.py --out gpu.json
    python benchmarks/_gpu.py --model nin --batch 128                                    # RotNet's
    python benchmarks/_gpu.py --device cpu --images 64 --batch 16 --repeats 1 --peak 1   # to try it

A network on rotated 32x32 images, as many as CIFAR-10 has, of random pixels, since content does not
affect speed. Writes one JSON file: the whole loop against one synthetic batch, images per second,
the share of the card's bf16 peak, and the time of 100 epochs, extrapolated from the epochs run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from _common import in_turns, machine
from _training import ANGLES, SIZE, Pretext, classifier, random_images
from _training import synthetic_images_per_second as synthetic
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ssl_rot.data import Images
from ssl_rot.training.compute import resolve_compute

# Dense bf16 TFLOP/s, from the vendors' data sheets; use --peak for other cards.
PEAKS = {
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "A10G": 70,
    "A10": 125,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "RTX 3090": 71,
}


def peak_of(name: str) -> float | None:
    """The peak of the first entry whose words are all in the card's name."""
    return next((p for card, p in PEAKS.items() if all(w in name for w in card.split())), None)


def operations_per_image(name: str) -> float:
    """Floating-point operations per image of a training step, counting each multiply and add."""
    model = classifier(model=name)
    with FlopCounterMode(display=False) as counter:
        loss = nn.functional.cross_entropy(
            model(torch.randn(2, 3, SIZE, SIZE)), torch.zeros(2, dtype=torch.long)
        )
        loss.backward()
    return counter.get_total_flops() / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="resnet18", help="an option of conf/model")
    parser.add_argument(
        "--images", type=int, default=50_000, help="number of images, before rotation"
    )
    parser.add_argument("--batch", type=int, default=1024, help="images per batch, before rotation")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak", type=float, help="the card's peak in bf16, TFLOP/s")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    args = parser.parse_args()
    compute = resolve_compute(args.device, "auto", compiled=args.compile)
    cuda = compute.device.type == "cuda"
    name = torch.cuda.get_device_name() if cuda else "cpu"
    peak = args.peak or peak_of(name)
    batch = len(ANGLES) * args.batch
    pretext = Pretext(Images(random_images(args.images)), args.batch, compute, args.model)
    with pretext.open:
        rates = in_turns(
            {
                "whole loop": pretext.images_per_second_warm,
                "synthetic batch": lambda: synthetic(
                    compute, batch, len(pretext.train), args.model, warm_up=3
                ),
            },
            args.repeats,
        )
    ratios = [a / b for a, b in zip(rates["whole loop"], rates["synthetic batch"], strict=True)]
    rate = statistics.median(rates["whole loop"])
    operations = operations_per_image(args.model)
    record = {
        "card": name,
        "model": args.model,
        "precision": compute.precision,
        "compiled": compute.compiled,
        "batch": batch,
        "whole loop / synthetic batch": {"goal": "at least 0.97", "values": ratios},
        "rotated images per second": rates,
        "operations per image": operations,
        "bf16 peak, TFLOP/s": peak,
        "share of the peak": None if peak is None else rate * operations / (peak * 1e12),
        "100 epochs of 200,000 rotated images, s": 100 * 200_000 / rate,
        "extrapolated from": f"{args.repeats} epochs of {pretext.samples:,} rotated images",
        "memory, GiB": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
        "machine": machine(),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: v for k, v in record.items() if k != "machine"}, indent=1))


if __name__ == "__main__":
    main()
