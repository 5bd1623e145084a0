"""The pipelines that this device knows: their definitions as sent, by id and by name."""
