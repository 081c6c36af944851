# SPDX-License-Identifier: Apache-2.0
"""What a board's firmware does with a card: partition table, FAT, boot files, and why it stops."""
