"""What the SDK sends and reads, as values. Pure."""
