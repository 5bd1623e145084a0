"""The state in one SQLite file: one writer, read-only readers, migrations, named queries."""
