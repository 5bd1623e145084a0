"""Discovery of entries: file system events of the kernel, and listings of trigger folders."""
