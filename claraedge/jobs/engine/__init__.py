"""The engine of running jobs: start, recovery, time-outs and termination."""
