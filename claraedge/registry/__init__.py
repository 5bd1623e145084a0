"""The pipelines registered on this device: their definitions as sent, by id and by name."""
