"""Benchmarks: `build/bench` runs all cases, `python -m tests.bench.NAME` those of a module.

To add a case:

1. Write a module of this package with a generator function `pairs(size)`. It sets up what it
   measures, then yields a list of `Pair(ours, theirs)` for ever, one pair for each figure; it
   cleans up in a `finally` or `with`, since it is closed in the middle. Both values of a pair are
   measured one right after the other (or at the same time), so that other load affects both.
   `in_loop` makes such a generator of an asynchronous one.
2. Name it in `CASES = (Case(...),)`, with a `Figure` for each pair: what it is compared with, the
   unit, and the goal: `at_most(1.3)` of the ratio ours / theirs, `at_least(0.75)`, or
   `at_most(64, of="ours")`. `full` and `quick` are the sizes that the function gets; `sizes` are
   those of --plot, for a case whose cost may grow with its size.
3. End the module with `if __name__ == "__main__": sys.exit(main(CASES))`, `main` of `run.py`.

The frame discards the first round, counts 7 (3 with --quick), and prints medians and quartiles.
What the function raises is printed as the reason why the case could not be measured; if it raises
`NotInstalled`, the case is left out, and this does not count as a failure.
"""
