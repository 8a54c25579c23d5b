"""Mail in the dev target: in the log, to be read."""

from email import policy

from django.core.mail import EmailMessage
from django.core.mail.backends import console

# The longest line that RFC 5322 allows; with Python's 78 a link would be broken by an equals sign.
READABLE = policy.default.clone(max_line_length=998)


class EmailBackend(console.EmailBackend):
    """Django's console backend, whose links can be copied."""

    def write_message(self, message: EmailMessage) -> None:
        """Write the message as it would be sent, but never wrapped."""
        written = message.message(policy=READABLE).as_bytes().decode(errors="replace")
        self.stream.write(f"{written}\n{'-' * 79}\n")
