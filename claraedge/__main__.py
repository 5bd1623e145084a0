"""Runs the command line as `python -m claraedge`."""

from claraedge.cli.main import main

main()
