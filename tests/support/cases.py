# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models and inputs that the properties are checked on, drawn by hypothesis."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from transformers import PreTrainedModel

from families import FAMILIES, Family, trained
from hf_gpvit import GPViTConfig, HRViTConfig


# The structure of every preset with few channels: depths, stripes, the numbers of heads, the extra convolutions, the
# pooling. Group tokens shrink with the channels, so that the same GP Blocks multiply weights with them first.
REDUCED = {
    "gpvit-l1": {"hidden_size": 24, "num_group_tokens": [7, 4, 4, 2]},
    "gpvit-l2": {"hidden_size": 36, "num_group_tokens": [7, 3, 3, 2]},
    "gpvit-l3": {"hidden_size": 48, "num_group_tokens": [7, 4, 4, 2]},
    "gpvit-l4": {"hidden_size": 60, "num_group_tokens": [6, 3, 3, 1]},
    "gpvit-nano": {},
    "hrvit-b1": {"hidden_sizes": [8, 16, 32, 64], "attention_head_dim": 8},
    "hrvit-b2": {"hidden_sizes": [8, 16, 40, 64], "attention_head_dim": 4},
    "hrvit-b3": {"hidden_sizes": [8, 16, 32, 64], "attention_head_dim": 4},
    "hrvit-nano": {},
}
NARROW = {
    "gpvit": {"stem_hidden_size": 8},
    "hrvit": {
        "stem_hidden_sizes": [6, 12],
        "classifier_hidden_sizes": [2, 4, 8, 16],
        "classifier_output_size": 32,
    },
}
NARROW_HEADS = {"decoder_hidden_size": 16, "auxiliary_hidden_size": 8, "initializer_range": 0.2}
SEGMENTORS = ("segformer", "upernet")
KINDS = ("model", "backbone", "classifier", *SEGMENTORS)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def inside_a_larger_tensor(pixel_values: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = pixel_values.shape
    larger = pixel_values.new_full((batch, channels + 1, height + 3, 2 * width), torch.nan)
    view = larger[:, 1:, 2 : height + 2, ::2]
    return view.copy_(pixel_values)


def crop_of_channels_last(pixel_values: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = pixel_values.shape
    larger = pixel_values.new_full((batch, height + 2, width + 3, channels), torch.nan)
    view = larger[:, 1 : height + 1, 2 : width + 2].permute(0, 3, 1, 2)
    return view.copy_(pixel_values)


LAYOUTS = {
    "contiguous": lambda pixel_values: pixel_values.clone(memory_format=torch.contiguous_format),
    "channels last": lambda pixel_values: pixel_values.contiguous(memory_format=torch.channels_last),
    "rows and columns exchanged": lambda pixel_values: pixel_values.mT.contiguous().mT,
    "images last": lambda pixel_values: pixel_values.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "inside a larger tensor": inside_a_larger_tensor,
    "crop of channels last": crop_of_channels_last,
}


@dataclass(frozen=True)
class Case:
    """A model, and images for it."""

    preset: str
    kind: str
    batch_size: int
    height: int
    width: int
    is_reduced: bool = True
    num_channels: int = 3
    dtype: torch.dtype = torch.float32
    input_dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    is_blank: bool = False
    seed: int = 0

    @property
    def family(self) -> Family:
        return next(family for family in FAMILIES if self.preset.startswith(family.name))

    @property
    def is_segmentor(self) -> bool:
        return self.kind in SEGMENTORS

    def config(self) -> GPViTConfig | HRViTConfig:
        overrides: dict[str, Any] = {"num_labels": 5, "num_channels": self.num_channels}
        if self.is_segmentor:
            overrides["decode_head_type"] = self.kind
        if self.is_reduced:
            overrides |= NARROW_HEADS | NARROW[self.family.name] | REDUCED[self.preset]
        return self.family.config_class.from_preset(self.preset, **overrides)

    def model(self) -> PreTrainedModel:
        """The model in eval mode, always the same for one case."""
        torch.manual_seed(self.seed)
        kind = "segmentor" if self.is_segmentor else self.kind
        model = trained(getattr(self.family, f"{kind}_class")(self.config()))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1 or not parameter.any():  # biases, norms and tokens that start at zero or one
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return model.to(self.dtype).eval()

    def pixel_values(self) -> torch.Tensor:
        """Contiguous images (B, num_channels, H, W)."""
        shape = (self.batch_size, self.num_channels, self.height, self.width)
        if self.is_blank:
            return torch.zeros(shape, dtype=self.input_dtype)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=generator).to(self.input_dtype)

    def labels(self) -> torch.Tensor:
        """Class ids of the images or of their pixels, of which some are to be ignored."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.kind == "classifier":
            return torch.randint(5, (self.batch_size,), generator=generator)
        labels = torch.randint(6, (self.batch_size, self.height, self.width), generator=generator)
        return labels.masked_fill(labels == 5, 255)

    def relaid(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The same values with the strides of `layout`."""
        return LAYOUTS[self.layout](pixel_values)


def cases(sides: st.SearchStrategy[int], **fixed: Any) -> st.SearchStrategy[Case]:
    """Cases with heights and widths from `sides`; `fixed` names fields and their values."""
    drawn = {
        "preset": st.sampled_from(list(REDUCED)),
        "is_reduced": st.just(True),
        "kind": st.sampled_from(KINDS),
        "num_channels": st.sampled_from([3, 3, 1, 2, 4, 7]),
        "dtype": st.sampled_from(DTYPES),
        "input_dtype": st.sampled_from(DTYPES),
        "batch_size": st.sampled_from([1, 2, 2, 3]),
        "height": sides,
        "width": sides,
        "layout": st.sampled_from(list(LAYOUTS)),
        "is_blank": st.sampled_from([False] * 7 + [True]),
        "seed": st.integers(0, 2**16),
    }
    return st.builds(Case, **drawn | {field: st.just(value) for field, value in fixed.items()})
