"""What tests share: a device, an engine and an inbox on real files, stubs of servers, waits."""
