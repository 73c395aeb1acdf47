"""Chest-radiograph segmentation that needs no labels from the hospital it is used in."""

from cxr_jax import platform as _platform

_platform.tune_cpu()
