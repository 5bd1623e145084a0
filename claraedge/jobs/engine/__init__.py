"""The jobs that run: their start, recovery, time-outs and end."""
