"""Benchmarks: `python -m tests.bench.NAME`. The goal of each stands in its docstring."""
