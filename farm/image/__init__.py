# SPDX-License-Identifier: Apache-2.0
"""Image formats: the SD image, with each file in a slot of its own."""
