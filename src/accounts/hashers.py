"""The password hasher."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """argon2id as OWASP recommends it: 19 MiB and one thread.

    A process hashes up to one password per pooled connection at once. With Django's 100 MiB, a
    burst of sign-ins would exceed the memory of a small task.
    https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    time_cost = 2
    memory_cost = 19_456  # KiB
    parallelism = 1
