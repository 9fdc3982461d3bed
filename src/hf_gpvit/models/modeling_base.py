# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What the models of both families are to transformers, and how their segmentors are trained."""

from functools import wraps

import torch
from transformers import PreTrainedModel
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from .decode_head import init_decode_head
from .fusing import COMPOSED_MODULES, NORMED_LAYERS, fused_copy
from .layers import init_weights


class HighResolutionPreTrainedModel(PreTrainedModel):
    """Base of `GPViTPreTrainedModel` and `HRViTPreTrainedModel`.

    A subclass names its `config` class, `base_model_prefix`, `_no_split_modules` and `_can_record_outputs`, and what
    `fuse_for_inference` is to know of its own modules (`_normed_layers`, `_composed_modules`).

    Attributes:
        is_fused: Whether the model comes from `fuse_for_inference`.
    """

    is_fused = False
    _normed_layers = NORMED_LAYERS
    _composed_modules = COMPOSED_MODULES

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    # Running statistics move by a tenth of a difference, which half precision often rounds away.
    _keep_in_fp32_modules_strict = ["batch_norm"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def post_init(self):
        super().post_init()
        self._install_hooks()

    def __setstate__(self, state):
        super().__setstate__(state)
        self._output_capturing_hooks_installed = False
        self._install_hooks()

    def _install_hooks(self):
        # From the start, since transformers can't install them while a model is being compiled. Those of the classes
        # around the trunk are the trunk's.
        maybe_install_capturing_hooks(self.base_model)
        self._output_capturing_hooks_installed = True

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers looks for the attention interface in the source of the modeling file; ours is in layers.py.
        return True

    def fuse_for_inference(self) -> "HighResolutionPreTrainedModel":
        """A copy for inference only that computes the same with fewer operations; this model stays as it is.

        Every BatchNorm becomes part of the layer before it. HRViT's pairs of depthwise convolutions become one, and
        so do the pointwise ones of its SegFormer head. The copy is in eval mode, on the same device and in the same
        precision; outputs differ by rounding. It can be compiled, moved, cast and quantised. What it can't do says so
        in a RuntimeError: `train`, `save_pretrained`, `push_to_hub`, and loading a state dict. Its parameters need no
        gradients and have names and shapes of their own, so that only this model can be trained and saved.

        Raises:
            ValueError: A module has an adapter, hooks, parametrised, quantised or offloaded weights.
        """
        fused = fused_copy(self, self._normed_layers, self._composed_modules)
        for module in fused.modules():
            if isinstance(module, HighResolutionPreTrainedModel):
                module.is_fused = True
        return fused

    def _check_not_fused(self, action: str) -> None:
        if self.is_fused:
            raise RuntimeError(
                f"This {type(self).__name__} is fused for inference and can't {action}. Use the model on which "
                "fuse_for_inference() was called."
            )

    def train(self, mode: bool = True) -> "HighResolutionPreTrainedModel":
        if mode:
            self._check_not_fused("be trained")
        return super().train(mode)

    @wraps(PreTrainedModel.save_pretrained)
    def save_pretrained(self, *args, **kwargs):
        self._check_not_fused("be saved")
        return super().save_pretrained(*args, **kwargs)

    @wraps(PreTrainedModel.push_to_hub)
    def push_to_hub(self, *args, **kwargs):
        self._check_not_fused("be pushed to the Hub")
        return super().push_to_hub(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs):
        # load_state_dict of this model and of modules around it come through here
        self._check_not_fused("load a state dict")
        return super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        init_weights(module, self.config.initializer_range)


class SegmentorMixin:
    """Initialisation and loss of a model with a `decode_head` and, for some heads, an `auxiliary_head`.

    It stands before the family's `...PreTrainedModel` among the bases of a segmentor.
    """

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        # The trunk initialises itself: the convolutions that come here are those of the heads.
        init_decode_head(module)

    def _loss(
        self, logits: torch.Tensor, feature_maps: tuple[torch.Tensor, ...], labels: torch.Tensor
    ) -> torch.Tensor:
        return self.loss_function(
            logits,
            labels,
            ignore_index=self.config.semantic_loss_ignore_index,
            auxiliary_logits=self.auxiliary_head(feature_maps) if self.auxiliary_head is not None else None,
            auxiliary_loss_weight=self.config.auxiliary_loss_weight,
        )
