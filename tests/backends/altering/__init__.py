"""An app whose migrations alter the table of users, for test_migrate.py."""
