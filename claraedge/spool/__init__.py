"""The spool, where claimed items wait for their results; and names and modes of result folders."""
