"""Which operator starts next, and whether there is room for it."""
