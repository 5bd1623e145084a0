"""Where the frozen program begins."""

from claraedge.cli.main import main

main()
