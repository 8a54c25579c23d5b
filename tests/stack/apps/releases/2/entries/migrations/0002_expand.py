from django.db import migrations, models

# Each release writes one column only. The trigger fills the other one.
CREATE_TRIGGER = """
CREATE FUNCTION entries_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (TG_OP = 'INSERT' AND NEW.title IS NULL)
    OR (TG_OP = 'UPDATE' AND NEW.headline IS DISTINCT FROM OLD.headline)
  THEN
    NEW.title := NEW.headline;
  ELSE
    -- Release 1 wrote the row. Its headline may still be empty.
    NEW.headline := NEW.title;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER entries_copy BEFORE INSERT OR UPDATE ON entries_entry
  FOR EACH ROW EXECUTE FUNCTION entries_copy();
"""
DROP_TRIGGER = "DROP TRIGGER entries_copy ON entries_entry; DROP FUNCTION entries_copy();"


class Migration(migrations.Migration):
    dependencies = [("entries", "0001_initial")]

    operations = [
        migrations.AddField("Entry", "headline", models.CharField(max_length=100, db_default="")),
        migrations.RunSQL(CREATE_TRIGGER, DROP_TRIGGER),
        # The column stays: release 1 still uses it.
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField("Entry", "title")]
        ),
    ]
