"""Mail in the dev target: printed to the log, with links that can be copied."""

from email import policy

from django.core.mail import EmailMessage
from django.core.mail.backends import console

# The longest line that RFC 5322 allows. Python's limit of 78 would break links.
UNWRAPPED = policy.default.clone(max_line_length=998)


class EmailBackend(console.EmailBackend):
    """Django's console backend, but without wrapped lines."""

    def write_message(self, message: EmailMessage) -> None:
        """Write the message as it would be sent."""
        written = message.message(policy=UNWRAPPED).as_bytes().decode(errors="replace")
        self.stream.write(f"{written}\n{'-' * 79}\n")
