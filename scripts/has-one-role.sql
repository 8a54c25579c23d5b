-- Whether the role of DATABASE_URL owns the database or something in it. In a volume of an earlier
-- release, it owns everything.
SELECT current_user IN (
  SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
  UNION SELECT pg_get_userbyid(relowner) FROM pg_class)
