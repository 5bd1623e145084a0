"""What a search is to find, and which part of the results a page has. Pure."""
