"""How passwords are hashed."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """argon2id as OWASP recommends it: 19 MiB and one thread, not Django's 100 MiB and eight.

    A process hashes as many passwords at once as its pool has connections; with Django's numbers a
    crowd that signs in would be more than the memory of a small task.
    https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    time_cost = 2
    memory_cost = 19_456  # KiB
    parallelism = 1
