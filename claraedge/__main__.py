"""`python -m claraedge` is the command line."""

from claraedge.cli.main import main

main()
