# SPDX-License-Identifier: Apache-2.0
"""farm's speed, as ratios to what it cannot be faster than: `python -m benchmarks`."""
