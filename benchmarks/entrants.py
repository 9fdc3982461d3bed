# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is measured: the models of this package, those that people would take instead, and which of them at what sizes.

The peers are timm's and transformers' own, with random weights: how fast a model is does not depend on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from torch import nn
from transformers import AutoBackbone, SegformerConfig, SegformerForSemanticSegmentation

from hf_gpvit.ablations import variants
from hf_gpvit.extras import import_extra
from hf_gpvit.saved_models import AUTO_CLASSES, preset_config, presets


MODES = ("inference", "training")
EXECUTIONS = ("eager", "compiled", "cuda-graphs")
NUM_CLASSES = 1000
NUM_LABELS = 150  # of segmentation, as ADE20K has

# depths and width of the decode head, Table 6 of the SegFormer paper (arXiv 2105.15203)
SEGFORMERS = {"segformer-b1": ((2, 2, 2, 2), 256), "segformer-b3": ((3, 4, 18, 3), 768)}
TIMM_WINDOWED = ("swin_tiny", "swin_small", "swin_base")
GPVIT_WIDTHS = (216, 348, 432, 624)  # the ViTs of Table 10 of the GPViT paper have those of GPViT-L1 to L4


@dataclass(frozen=True)
class Work:
    """One row of a table: a step of a model.

    Attributes:
        model: Key of `MODELS`.
        height: Height of the pictures in pixels.
        width: Their width.
        batch_size: Pictures of a step.
        mode: "inference", or "training" for forward pass, loss and backward pass, without the optimizer.
        dtype: "float32", "bfloat16" or "float16": of weights and pictures in inference, of autocast in training.
        execution: "eager", "compiled", or "cuda-graphs", which is `torch.compile(mode="reduce-overhead")`.
    """

    model: str
    height: int
    width: int
    batch_size: int
    mode: str = "inference"
    dtype: str = "float32"
    execution: str = "eager"

    def __str__(self) -> str:
        conditions = [self.mode, self.dtype, self.execution]
        usual = ("inference", "float32", "eager")
        unusual = [name for name, default in zip(conditions, usual, strict=True) if name != default]
        return " ".join([self.model, f"{self.batch_size}x{self.height}x{self.width}", *unusual])


@dataclass(frozen=True)
class Grid:
    """Every combination of these."""

    models: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    batch_sizes: Sequence[int]
    modes: Sequence[str] = ("inference",)
    dtypes: Sequence[str] = ("float32",)
    executions: Sequence[str] = ("eager",)

    def works(self) -> list[Work]:
        combinations = product(self.modes, self.dtypes, self.executions, self.sizes, self.batch_sizes, self.models)
        return [
            Work(model, *size, batch_size, mode, dtype, execution)
            for mode, dtype, execution, size, batch_size, model in combinations
        ]


UNIT = Work("swin_tiny_patch4_window7_224", 224, 224, 4)


def unit_of(work: Work, unit: Work = UNIT) -> Work:
    """What `work` is compared to: the unit under the same conditions."""
    return replace(unit, mode=work.mode, dtype=work.dtype, execution=work.execution)


def is_peer(model: str) -> bool:
    """Whether the model is somebody else's, or a variant: what GPViT and HRViT are compared with."""
    for suffix in ("-backbone", "-segformer", "-upernet"):
        model = model.removesuffix(suffix)
    return model not in presets()


def _classifier(preset: str, height: int, width: int) -> nn.Module:
    return AUTO_CLASSES["image-classification"].from_config(preset_config(preset, num_labels=NUM_CLASSES))


def _backbone(preset: str, height: int, width: int) -> nn.Module:
    return AutoBackbone.from_config(preset_config(preset))


def _segmentor(preset: str, head: str, height: int, width: int) -> nn.Module:
    config = preset_config(preset, num_labels=NUM_LABELS, decode_head_type=head)
    return AUTO_CLASSES["semantic-segmentation"].from_config(config)


def _segformer(depths: tuple[int, ...], decoder_hidden_size: int, height: int, width: int) -> nn.Module:
    config = SegformerConfig(
        depths=list(depths),
        hidden_sizes=[64, 128, 320, 512],
        decoder_hidden_size=decoder_hidden_size,
        num_labels=NUM_LABELS,
    )
    return SegformerForSemanticSegmentation(config)


def _timm(name: str, height: int, width: int, **options) -> nn.Module:
    return import_extra("timm", "benchmark").create_model(name, num_classes=NUM_CLASSES, **options)


def _timm_sized(name: str, height: int, width: int, **options) -> nn.Module:
    """A model of timm's that is made for one size of picture."""
    return _timm(name, height, width, img_size=(height, width), **options)


def _ours() -> dict[str, Callable[[int, int], nn.Module]]:
    builders = {}
    for preset in (*presets(), *variants()):
        builders[preset] = partial(_classifier, preset)
        builders[f"{preset}-backbone"] = partial(_backbone, preset)
        for head in ("segformer", "upernet"):
            builders[f"{preset}-{head}"] = partial(_segmentor, preset, head)
    return builders


def _peers() -> dict[str, Callable[[int, int], nn.Module]]:
    builders = {name: partial(_segformer, *sizes) for name, sizes in SEGFORMERS.items()}
    sized = [f"{name}_patch4_window7_224" for name in TIMM_WINDOWED]
    sized += ["deit_small_patch16_224", "vit_small_patch16_224", "vit_small_patch8_224"]
    builders |= {name: partial(_timm_sized, name) for name in sized}
    builders["hrnet_w18"] = partial(_timm, "hrnet_w18")
    for width, patch in product(GPVIT_WIDTHS, (16, 8)):
        builders[f"timm-vit-d{width}-p{patch}"] = partial(
            _timm_sized, f"vit_small_patch{patch}_224", embed_dim=width, num_heads=12
        )
    return builders


# name -> builder(height, width), which gives the model with random weights; a suffix says what a preset has instead of
# a classifier
MODELS = _ours() | _peers()

_GPVITS = ("gpvit-l1", "gpvit-l2", "gpvit-l3", "gpvit-l4")
_HRVITS = ("hrvit-b1", "hrvit-b2", "hrvit-b3")
_SWINS = tuple(f"{name}_patch4_window7_224" for name in TIMM_WINDOWED)
_SIDE_224, _SIDE_512 = (224, 224), (512, 512)

SUITES = {
    "reference": (
        Grid(("gpvit-l1", "gpvit-l2", "hrvit-b1"), (_SIDE_224,), (4,)),
        Grid(("gpvit-l1-backbone", "hrvit-b1-segformer", "hrvit-b3-segformer", *SEGFORMERS), (_SIDE_512,), (1,)),
        Grid(("gpvit-l1", "hrvit-b1"), (_SIDE_224,), (4,), ("training",)),
    ),
    "classification": (
        Grid((*_GPVITS, *_HRVITS, *_SWINS, "deit_small_patch16_224", "hrnet_w18"), (_SIDE_224,), (4,)),
    ),
    "segmentation": (
        Grid((*(f"{name}-segformer" for name in (*_GPVITS, *_HRVITS)), *SEGFORMERS), (_SIDE_512,), (1,)),
    ),
    # Table 10 of the GPViT paper
    "high-resolution": (
        Grid(
            (*_GPVITS, *(f"vit-d{width}-p{patch}" for patch, width in product((16, 8), GPVIT_WIDTHS))),
            (_SIDE_224, (800, 1280), (512, 2048)),
            (1,),
        ),
    ),
}


def suite_works(suite: str, **given: Sequence | None) -> list[Work]:
    """The works of a suite, each once; what is `given` (fields of `Grid` that are not None) takes its grids' place."""
    given = {name: values for name, values in given.items() if values is not None}
    return list(dict.fromkeys(work for grid in SUITES[suite] for work in replace(grid, **given).works()))
