"""TFDS builders of the datasets."""
