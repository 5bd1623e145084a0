"""The folders of the inbox: events of the kernel, and lists of what is there."""
