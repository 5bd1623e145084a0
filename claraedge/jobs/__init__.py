"""Jobs: states, scheduling, admission, execution, recovery, logs."""
