"""Where the frozen program begins."""

from claraedge.appliance import frozen

# Before the slow imports: until then a signal would leave the unpacked folder behind.
frozen.remove_at_end()
frozen.lock_extraction()

from claraedge.cli.main import main  # noqa: E402

main()
