# SPDX-License-Identifier: Apache-2.0
"""farm: small Linux systems, from one YAML file to a verdict on a board."""

__version__ = "0.1.0"
