-- A checksum of what `migrate --ensure-superuser` leaves in the database. The times of the migrations
-- differ in every other database, such as a snapshot.
SELECT md5(concat_ws(' ',
  (SELECT string_agg(concat_ws(' ', app, name, applied), ' ' ORDER BY id) FROM django_migrations),
  (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting
    WHERE setrole = quote_ident(current_user)::regrole),
  (SELECT string_agg(email, ' ' ORDER BY id) FROM accounts_user WHERE is_superuser)))
