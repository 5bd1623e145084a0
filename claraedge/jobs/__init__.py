"""Jobs: their states, scheduling, admission, execution, recovery, logs and retention."""
