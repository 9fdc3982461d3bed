# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit push` does."""

from argparse import Namespace

from ..hub.push import push_model, repo_url
from .ending import ending_errors, say


@ending_errors(interrupted="Interrupted. The same command goes on.")
def run(options: Namespace, prog: str) -> None:
    """Pushes a model, and prints where it is."""
    url = push_model(
        options.folder,
        options.repo_id,
        dataset=options.dataset,
        license=options.license,
        onnx=options.onnx,
        private=not options.public,
        revision=options.revision,
        commit_message=options.commit_message,
        allow_unevaluated=options.allow_unevaluated,
    )
    say(f"{repo_url(options.repo_id)} ({'public' if options.public else 'private'}): {url}")
