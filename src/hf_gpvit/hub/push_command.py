# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The command `hf-gpvit push`, which is also scripts/push_to_hub.py."""

from collections.abc import Sequence

from ..command_line import command_parser, ending_errors
from .push import push_model, repo_url


DESCRIPTION = """A model goes to the Hugging Face Hub, in one commit and as a private repository.

    %(prog)s runs/shapes/best you/gpvit-shapes
    %(prog)s path/to/folder-of-save_for_hub you/gpvit-l1 --public

FOLDER is what save_for_hub wrote, or a folder with a model and its image processor, such as a run's best: that gets
the model's code and a card on the way, with the figures in its metrics.json. The token is taken from HF_TOKEN or from
`hf auth login`. After a cut connection the same command goes on.
"""


@ending_errors(interrupted="Interrupted. The same command goes on.")
def push_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Pushes a model as the command line says, and prints where it is.

    Mistakes, missing rights and a Hub that can't be reached end the process with one message and the exit code 1.

    Args:
        arguments: The options. Default: this process's.
        prog: Name of the program that `--help` shows. Default: the script's.
    """
    parser = command_parser(DESCRIPTION, prog)
    parser.add_argument("folder", help="what to push")
    parser.add_argument("repo_id", help="name on the Hub, such as you/gpvit-l1; made if there is none")
    parser.add_argument("--public", action="store_true", help="for all to see; by default the repository is private")
    parser.add_argument("--revision", help="branch, made if there is none; by default the main one")
    parser.add_argument("--commit_message", help="of the commit; by default what the model is")
    parser.add_argument(
        "--allow_unevaluated", action="store_true", help="push a model without results of an evaluation too"
    )
    parser.add_argument("--dataset", help="name of what it was trained on, for the card; by default the recipe's")
    parser.add_argument("--license", help="of the weights, by the Hub's identifier; by default the recipe's")
    parser.add_argument("--onnx", action="store_true", help="also make an ONNX file, which takes seconds to minutes")
    options = parser.parse_args(arguments)
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
    print(f"{repo_url(options.repo_id)} ({'public' if options.public else 'private'}): {url}")
