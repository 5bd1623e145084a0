"""What an entry of the inbox is, and whether it is whole."""
