"""An app whose migrations alter the table of users (test_migrate.py)."""
