# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What both papers print of their own models and variants, table by table, and how we count the same.

Figures are text, with the digits that are printed. GPViT's tables are those of https://arxiv.org/abs/2212.06795,
HRViT's those of https://arxiv.org/abs/2111.01236.
"""

from dataclasses import dataclass, field
from typing import Any


MILLION, BILLION = 1e6, 1e9
SIDE_224, SIDE_512, WIDE_512 = (224, 224), (512, 512), (512, 2048)


@dataclass(frozen=True)
class Count:
    """One way in which a printed figure may have been counted.

    Attributes:
        heading: Of its column.
        model: What is counted, a key of `paper_counts.BUILDERS`.
        size: Height and width of the picture whose multiply-adds are counted; None to count parameters.
        left_out: Multiply-adds that aren't counted, a key of `paper_counts.LEFT_OUT`.
        added: Multiply-adds that are counted on top, where the paper's rows all have so many more.
    """

    heading: str
    model: str
    size: tuple[int, int] | None = None
    left_out: str = "nothing"
    added: float = 0

    @property
    def unit(self) -> float:
        return MILLION if self.size is None else BILLION


@dataclass(frozen=True)
class Column:
    """A printed column, and our counts that stand beside it."""

    heading: str
    counts: tuple[Count, ...]


@dataclass(frozen=True)
class Row:
    """
    Attributes:
        name: What the paper calls it.
        key: Its preset, or its variant of `hf_gpvit.ablations`.
        printed: Figures of the table's columns; empty where there is none.
        results: Accuracies, which only training can repeat.
    """

    name: str
    key: str
    printed: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        title: The table, and what it is about.
        columns: What can be counted.
        results: Headings of the rows' results.
        rows: Its rows, of our models alone.
        unit: Name of the row whose time the others' are given in.
        fields: Fields of the config in which all its models differ from their keys' classifiers.
        note: What one should know of the printed figures.
    """

    title: str
    columns: tuple[Column, ...]
    results: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str
    fields: dict[str, Any] = field(default_factory=dict)
    note: str = ""


# --- GPViT


def _macs_of_gpvit(heading: str, model: str, size: tuple[int, int]) -> Column:
    counts = (
        Count("plain", model, size),
        Count("without output projections", model, size, left_out="output projections of ungrouping"),
    )
    return Column(heading, counts)


_AT_224 = _macs_of_gpvit("GMAC at 224", "classifier", SIDE_224)
_AT_512 = _macs_of_gpvit("GMAC at 512", "segformer150", SIDE_512)
_MEAN = {"pooling_type": "mean"}
_NO_CONVENTION = (
    "No single way of counting gives the figures of models with GP Blocks at 224; at 512 they leave the output "
    "projection of ungrouping out, which Equation 6 hasn't either, though the published weights have it."
)

GPVIT_1 = Table(
    "GPViT, Tables 1, 2 and 12: the models",
    (
        Column("parameters (M)", (Count("backbone", "backbone"), Count("classifier", "classifier"))),
        _AT_224,
    ),
    ("top-1",),
    (
        Row("GPViT-L1", "gpvit-l1", ("9.3", "5.8"), ("80.5",)),
        Row("GPViT-L2", "gpvit-l2", ("23.6", "15.0"), ("83.4",)),
        Row("GPViT-L3", "gpvit-l3", ("36.2", "22.9"), ("84.1",)),
        Row("GPViT-L4", "gpvit-l4", ("75.4", "48.2"), ("84.3",)),
    ),
    unit="GPViT-L1",
    note=f"Tables 2, 10 and 12 have 23.8 M of L2, which is the backbone with its pooling. {_NO_CONVENTION}",
)

GPVIT_5 = Table(
    "GPViT, Table 5: segmentation of ADE20K",
    (
        Column("SegFormer: parameters (M)", (Count("segmentor", "segformer150"),)),
        _AT_512,
        Column("UPerNet: parameters (M)", (Count("without auxiliary head", "upernet150"),)),
        Column(
            "UPerNet: GMAC at 512x2048",
            (
                Count("plain", "upernet150", WIDE_512),
                Count("without attention", "upernet150", WIDE_512, left_out="attention products"),
            ),
        ),
    ),
    ("SegFormer: mIoU", "UPerNet: mIoU"),
    (
        Row("GPViT-L1", "gpvit-l1", ("9", "34", "37", "568"), ("46.9", "49.1")),
        Row("GPViT-L2", "gpvit-l2", ("24", "83", "53", "775"), ("49.2", "50.2")),
        Row("GPViT-L3", "gpvit-l3", ("36", "123", "66", "944"), ("50.8", "51.7")),
        Row("GPViT-L4", "gpvit-l4", ("76", "249", "107", "1469"), ("51.3", "52.5")),
    ),
    unit="GPViT-L1",
    note=(
        "Both halves were counted in ways of their own: SegFormer's at 512x512 without the output projections of "
        "ungrouping, UPerNet's at 512x2048 without the products of attention, as detectors' are in Tables 3 and 4."
    ),
)

GPVIT_6 = Table(
    "GPViT, Table 6: step by step",
    (_AT_224, _AT_512),
    ("top-1", "mIoU"),
    (
        Row("ViT-D216-P16", "vit-d216-p16", ("1.8", "16"), ("77.4", "42.2")),
        Row("the same, maps x2 before the head", "vit-d216-p16-segmentation-features-x2", ("1.8", "16"), ("", "")),
        Row("ViT-D216-P8", "vit-d216-p8", ("8.8", "113"), ("79.2", "-")),
        Row("+ window attention", "l1-window-none", ("5.8", "34"), ("78.1", "41.7")),
        Row("+ window attention + GP Block", "l1-window-gp", ("5.8", "34"), ("79.8", "45.5")),
        Row("+ LePE attention", "l1-lepe-none", ("5.8", "34"), ("79.5", "46.2")),
        Row("+ LePE attention + GP Block", "l1-lepe-gp", ("5.8", "34"), ("80.5", "46.9")),
    ),
    unit="+ LePE attention + GP Block",
    fields=_MEAN,
    note=_NO_CONVENTION,
)

GPVIT_7 = Table(
    "GPViT, Table 7: what exchanges global information",
    (_AT_224, _AT_512),
    ("top-1", "mIoU"),
    (
        Row("window: none", "l1-window-none", ("5.8", "34"), ("78.2", "41.7")),
        Row("window: convolutions", "l1-window-conv", ("6.6", "38"), ("75.8", "39.5")),
        Row("window: global attention", "l1-window-global", ("6.8", "62"), ("78.8", "44.0")),
        Row("window: shifted windows", "l1-window-shift", ("5.8", "34"), ("78.1", "40.7")),
        Row("window: GP Block", "l1-window-gp", ("5.8", "34"), ("79.8", "45.5")),
        Row("LePE: none", "l1-lepe-none", ("5.8", "34"), ("79.5", "46.2")),
        Row("LePE: convolutions", "l1-lepe-conv", ("6.6", "38"), ("77.7", "45.5")),
        Row("LePE: global attention", "l1-lepe-global", ("6.8", "62"), ("80.4", "46.7")),
        Row("LePE: GP Block", "l1-lepe-gp", ("5.8", "34"), ("80.5", "46.9")),
    ),
    unit="LePE: GP Block",
    fields=_MEAN,
    note=_NO_CONVENTION,
)

GPVIT_8 = Table(
    "GPViT, Table 8: numbers of group tokens",
    (_AT_224,),
    ("top-1",),
    (
        Row("{16, 16, 16, 16}", "l1-groups-16-16-16-16", ("5.7",), ("79.9",)),
        Row("{32, 32, 32, 32}", "l1-groups-32-32-32-32", ("5.8",), ("",)),
        Row("{64, 64, 64, 64}", "l1-groups-64-64-64-64", ("6.0",), ("",)),
        Row("{16, 32, 32, 64}", "l1-groups-16-32-32-64", ("5.8",), ("80.0",)),
        Row("{64, 32, 32, 16}", "l1-groups-64-32-32-16", ("5.8",), ("80.5",)),
    ),
    unit="{64, 32, 32, 16}",
    note="The printed figures are 0.23 to 0.33 less than the plain count throughout.",
)

GPVIT_9 = Table(
    "GPViT, Table 9: propagation between groups",
    (_AT_224,),
    ("top-1",),
    (
        Row("None", "l1-propagation-none", ("5.7",), ("79.8",)),
        Row("SelfAttn, one layer", "l1-propagation-self-attention-depth1", ("6.2",), ("80.7",)),
        Row("SelfAttn, without its MLP", "l1-propagation-self-attention-without-mlp", ("6.2",), ("",)),
        Row("SelfAttn, six layers", "l1-propagation-self-attention-depth6", ("6.2",), ("",)),
        Row("MLPMixer", "l1-propagation-mixer", ("5.8",), ("80.5",)),
    ),
    unit="MLPMixer",
    note=(
        "SelfAttn is our reading: its step of 0.4 over MLPMixer is that of six layers, which have 21.6 M parameters, "
        "where the text says that all models have less than 10 M."
    ),
)

# --- HRViT

_PARAMETERS_19 = Column("parameters (M)", (Count("segmentor", "segformer19"),))
_HALF = "half of the attention products"
# what the rows of Table 5 have on top of conv, linear and half of the attention products, all alike
_B1_OFFSET = 0.14e9

HRVIT_3 = Table(
    "HRViT, Table 3: the models on ImageNet",
    (
        Column("parameters (M)", (Count("classifier", "classifier"),)),
        Column(
            "GMAC at 224",
            (
                Count("plain", "classifier", SIDE_224),
                Count("half of attention", "classifier", SIDE_224, left_out=_HALF),
            ),
        ),
    ),
    ("top-1",),
    (
        Row("HRViT-b1", "hrvit-b1", ("19.7", "2.7"), ("80.5",)),
        Row("HRViT-b2", "hrvit-b2", ("32.5", "5.1"), ("82.3",)),
        Row("HRViT-b3", "hrvit-b3", ("37.9", "5.7"), ("82.8",)),
    ),
    unit="HRViT-b1",
    note="The printed multiply-adds have half of the attention products.",
)


def _macs_of_hrvit(added: float = 0) -> Column:
    half = f"half of attention + {added / BILLION:.2f}" if added else "half of attention"
    counts = (
        Count("plain", "segformer19", SIDE_512),
        Count(half, "segformer19", SIDE_512, left_out=_HALF, added=added),
    )
    return Column("GMAC at 512", counts)


HRVIT_4 = Table(
    "HRViT, Table 4: the models on Cityscapes",
    (_PARAMETERS_19, _macs_of_hrvit()),
    ("mIoU",),
    (
        Row("HRViT-b1", "hrvit-b1", ("8.1", "14.1"), ("81.63",)),
        Row("HRViT-b2", "hrvit-b2", ("20.8", "27.4"), ("82.81",)),
        Row("HRViT-b3, stripes of 7", "hrvit-b3-stripes7", ("28.6", "66.3"), ("",)),
        Row("HRViT-b3, stripes of 9", "hrvit-b3-stripes9", ("28.6", "66.3"), ("83.16",)),
    ),
    unit="HRViT-b1",
    note=(
        "The printed figures are 0.14 (b1), 0.17 (b2) and 0.3 (b3) more than convolutions, linear layers and half of "
        "the attention products: something small that we don't know. The text says stripes of 9 for b3 on Cityscapes."
    ),
)

HRVIT_5 = Table(
    "HRViT, Table 5: without each of its ideas",
    (_PARAMETERS_19, _macs_of_hrvit(_B1_OFFSET)),
    ("top-1", "mIoU"),
    (
        Row("HRViT-b1", "hrvit-b1", ("8.1", "14.1"), ("80.52", "81.63")),
        Row("- key-value sharing", "b1-without-kv-sharing", ("8.8", "14.7"), ("80.52", "81.00")),
        Row("- eff. patch embed", "b1-without-efficient-patch-embedding", ("9.9", "16.5"), ("80.19", "81.18")),
        Row("- MixCFN", "b1-without-mixcfn", ("7.9", "13.6"), ("79.86", "80.52")),
        Row("- parallel conv path", "b1-without-parallel-convolution", ("8.1", "14.0"), ("80.06", "80.82")),
        Row("- nonlinearity/BN", "b1-without-nonlinearity-bn", ("8.1", "14.1"), ("80.37", "81.12")),
        Row("- dense fusion", "b1-sparse-fusion", ("8.0", "14.0"), ("79.95", "81.26")),
        Row("- DES", "b1-without-des", ("8.1", "14.0"), ("80.36", "81.38")),
        Row("- all block opt.", "b1-all-off-sparse-no-lepe", ("10.1", "16.3"), ("79.79", "80.45")),
    ),
    unit="HRViT-b1",
    note="All rows have the 0.14 on top that b1 has in Table 4.",
)

HRVIT_6 = Table(
    "HRViT, Table 6: HRNet with transformer blocks, in our reading",
    (_PARAMETERS_19, _macs_of_hrvit()),
    ("top-1", "mIoU"),
    (
        Row("HRNet18-MiT", "hrnet18-mit-reduction-none", ("8.4", "29.3"), ("79.3", "80.30")),
        Row("HRNet18-CSWin", "hrnet18-cswin", ("8.1", "22.3"), ("79.5", "80.95")),
        Row("HRViT-b1", "hrvit-b1", ("8.1", "14.1"), ("80.5", "81.63")),
        Row("HRNet32-MiT", "hrnet32-mit-reduction-none", ("24.4", "52.4"), ("81.1", "82.05")),
        Row("HRNet32-CSWin", "hrnet32-cswin", ("23.9", "42.2"), ("81.1", "82.11")),
        Row("HRViT-b2", "hrvit-b2", ("20.8", "27.4"), ("82.3", "82.81")),
        Row("HRNet40-MiT", "hrnet40-mit-reduction-none", ("40.1", "108.0"), ("82.3", "82.10")),
        Row("HRNet40-CSWin", "hrnet40-cswin", ("39.5", "96.3"), ("82.4", "82.38")),
        Row("HRViT-b3", "hrvit-b3-stripes7", ("28.6", "66.3"), ("82.8", "83.16")),
    ),
    unit="HRViT-b1",
    note=(
        "The paper says only that residual blocks of HRNetV2 become transformer blocks. Our reading agrees with its "
        "parameters to 1.1 %, with its multiply-adds to 6 %: what it measures is ours, not the paper's model."
    ),
)

TABLES = {
    "gpvit-1": GPVIT_1,
    "gpvit-5": GPVIT_5,
    "gpvit-6": GPVIT_6,
    "gpvit-7": GPVIT_7,
    "gpvit-8": GPVIT_8,
    "gpvit-9": GPVIT_9,
    "hrvit-3": HRVIT_3,
    "hrvit-4": HRVIT_4,
    "hrvit-5": HRVIT_5,
    "hrvit-6": HRVIT_6,
}

# --- GPViT, Table 10: parameters (M), and ms per picture on an RTX 2080 Ti of 11 GB by size; "" is out of memory

TIMES: dict[str, tuple[str, dict[tuple[int, int], str]]] = {
    key: (parameters, dict(zip((SIDE_224, (800, 1280), WIDE_512), times, strict=True)))
    for key, parameters, *times in (
        ("vit-d216-p16", "7.4", "0.9", "155", "150"),
        ("vit-d216-p8", "7.4", "7.5", "", ""),
        ("gpvit-l1", "9.3", "2.7", "83", "87"),
        ("vit-d348-p16", "18.5", "1.4", "167", "162"),
        ("vit-d348-p8", "18.5", "9.5", "", ""),
        ("gpvit-l2", "23.8", "5.1", "132", "137"),
        ("vit-d432-p16", "28.5", "1.8", "177", "173"),
        ("vit-d432-p8", "28.5", "11.3", "", ""),
        ("gpvit-l3", "36.2", "7.0", "174", "182"),
        ("vit-d624-p16", "57.9", "2.9", "206", "203"),
        ("vit-d624-p8", "57.9", "15.9", "", ""),
        ("gpvit-l4", "75.4", "11.1", "281", "290"),
    )
}
