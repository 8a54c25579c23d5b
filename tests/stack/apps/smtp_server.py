"""A mail server that accepts every message and writes its recipient to /notes/mail."""

import asyncio
from pathlib import Path

REPLIES = {"DATA": "354 go on", "QUIT": "221 bye"}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak as much SMTP as smtplib needs."""

    def reply(line: str) -> None:
        writer.write(f"{line}\r\n".encode())

    reply("220 ready")
    recipient = ""
    while line := (await reader.readline()).decode().strip():
        verb = line.split()[0].upper()
        reply(REPLIES.get(verb, "250 ok"))
        if verb == "RCPT":
            recipient = line.partition("<")[2].partition(">")[0]
        elif verb == "DATA":
            await reader.readuntil(b"\r\n.\r\n")
            with Path("/notes/mail").open("a") as mail:
                mail.write(f"{recipient}\n")
            reply("250 accepted")
        elif verb == "QUIT":
            break
    writer.close()


async def main() -> None:
    """Listen on port 2525 in the container."""
    server = await asyncio.start_server(serve, "0.0.0.0", 2525)  # noqa: S104 - its own network
    await server.serve_forever()


asyncio.run(main())
