"""The drop folder: watches, inspects, claims and submits what is dropped into it."""
