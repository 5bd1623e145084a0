"""Who may call over TCP: the token of this device, its certificate, and the addresses."""
