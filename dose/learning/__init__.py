"""What all networks share: architecture, training, weights with their checksum, the range they hold in, fallback.

torch is imported by `unet`, `training`, `weights` and `patches` only. See docs/ai/README.md.
"""
