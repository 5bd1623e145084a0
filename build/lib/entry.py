"""Where the frozen program begins."""

from claraedge.appliance import frozen

# Before the slow imports: until then a killed parent would leave this process behind.
frozen.die_with_parent()
frozen.hold_extraction()

from claraedge.cli.main import main  # noqa: E402

main()
