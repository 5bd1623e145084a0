"""How much of the device was reserved in the last hour, and how much is in use now."""
