"""The drop folder: watch, settle, claim, submit."""
