# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What larger pictures cost: multiply-adds, time and memory of one image against its side.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --models gpvit-l1 vit_small_patch16_224 --sides 256 512 1024 --device cuda

Attention among all tokens grows with the square of their number; stripes and groups grow with the number alone. On
CUDA, sides go on to 8192, or to where the memory ends, which the table then says. Steps of more than 20 seconds
are timed once. Conditions, ceilings and memory are as in speed.py.

Writes scaling.md, scaling.json and scaling.png into the output folder.
"""

from collections.abc import Sequence
from itertools import product

from entrants import Work
from machine import describe_machine
from report import machine_text, model_name, plot_scaling, save, table
from speed import common_parser, entry_row, positive, start, time_works


MODELS = ("gpvit-l1", "hrvit-b1", "vit_small_patch16_224", "vit_small_patch8_224")
SIDES = (128, 256, 512, 1024)
CUDA_SIDES = (*SIDES, 2048, 4096, 8192)
SMALL, LARGE = 256, 1024  # sides whose times per pixel are compared


def growth(rows: Sequence[dict]) -> dict[str, float]:
    """Time per pixel at 1024x1024 relative to that at 256x256 by model, where both were timed."""
    seconds = {(model_name(row), row["height"]): row["seconds_per_image"] for row in rows if row["fits"]}
    models = dict.fromkeys(model for model, _ in seconds)
    pixels = (LARGE / SMALL) ** 2
    return {
        model: seconds[model, LARGE] / seconds[model, SMALL] / pixels
        for model in models
        if (model, SMALL) in seconds and (model, LARGE) in seconds
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = common_parser(__doc__)
    parser.add_argument("--sides", nargs="+", type=positive, metavar="PIXELS", help="of square images")
    parser.set_defaults(rounds=3)
    arguments = parser.parse_args(argv)
    device = start(parser, arguments)
    sides = sorted(set(arguments.sides or (CUDA_SIDES if device.type == "cuda" else SIDES)))
    combinations = product(
        arguments.dtypes or ("float32",), arguments.executions or ("eager",), arguments.models or MODELS, sides
    )
    works = [
        Work(model, side, side, 1, dtype=dtype, execution=execution) for dtype, execution, model, side in combinations
    ]
    entries, rates = time_works(works, device, arguments.rounds)
    rows = [entry_row(entry, rates) for entry in entries]
    machine = describe_machine(device)
    text = f"{table(rows)}\n{_growth_text(growth(rows))}\n{machine_text(machine, rates)}"
    print(text)
    folder = arguments.output_dir
    save(folder, "scaling", text, {"machine": machine, "ceilings": rates, "growth": growth(rows), "rows": rows})
    plot_scaling(rows, folder / "scaling.png")
    print(f"{folder}: scaling.md, scaling.json, scaling.png")


def _growth_text(growths: dict[str, float]) -> str:
    return "".join(
        f"- {model}: time per pixel at {LARGE}x{LARGE} is {growth:.2f} of that at {SMALL}x{SMALL}\n"
        for model, growth in growths.items()
    )


if __name__ == "__main__":
    main()
