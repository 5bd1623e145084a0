"""Access of the daemon to its machine: disk space, locks, systemd notification, frozen binary."""
