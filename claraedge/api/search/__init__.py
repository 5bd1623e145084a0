"""The search over jobs and items of the drop folder."""
