"""From the text of a definition to nodes with their places, and problems."""
