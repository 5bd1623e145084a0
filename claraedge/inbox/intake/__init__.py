"""From a claimed entry to a job, or to a failure with a reason."""
