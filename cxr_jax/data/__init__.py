"""From a prepared dataset to augmented batches on the device."""
