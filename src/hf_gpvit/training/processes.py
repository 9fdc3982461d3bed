# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What one of several processes does for all."""

from collections.abc import Callable

from ..extras import import_extra


accelerate = import_extra("accelerate")


def in_main_process(accelerator: accelerate.Accelerator, work: Callable[[], object]) -> None:
    """Does it in the main process alone, and raises its error in all of them. Every process must call it."""
    errors = [None]
    if accelerator.is_main_process:
        try:
            work()
        except Exception as error:
            errors = [error]
    [error] = accelerate.utils.broadcast_object_list(errors)
    if error is not None:
        raise error
