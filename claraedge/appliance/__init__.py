"""What an appliance needs of its machine: lock, systemd notify, frozen binary."""
