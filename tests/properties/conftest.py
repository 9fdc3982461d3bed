# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

from hypothesis import HealthCheck, Phase, settings


# The same cases in every run, and nothing kept between runs; explanations of a failure would take minutes.
settings.register_profile(
    "models",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("models")
