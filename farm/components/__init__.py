# SPDX-License-Identifier: Apache-2.0
"""Components: made into images of the store, and what any image's labels say of it."""

from farm.components.build import build_component
from farm.components.facts import (
    LABEL_COMPONENT,
    LABEL_CONFIG,
    ComponentFacts,
    component_config,
    component_facts,
)

__all__ = [
    "LABEL_COMPONENT",
    "LABEL_CONFIG",
    "ComponentFacts",
    "build_component",
    "component_config",
    "component_facts",
]
