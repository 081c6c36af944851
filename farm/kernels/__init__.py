# SPDX-License-Identifier: Apache-2.0
"""Kernels: made ready once, then taken from: modules, device trees, the file for the card."""

from farm.kernels.guest import MODULE_LIST, ModulePlan, device_tree, module_plan, module_tree
from farm.kernels.prepare import PreparedKernel, prepare_kernel, tidy_kernels

__all__ = [
    "MODULE_LIST",
    "ModulePlan",
    "PreparedKernel",
    "device_tree",
    "module_plan",
    "module_tree",
    "prepare_kernel",
    "tidy_kernels",
]
