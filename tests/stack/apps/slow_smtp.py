"""An SMTP server that delays its greeting. It prints one JSON line for each mail."""

import json
import re
import socketserver
import sys
import time

DELAY = float(sys.argv[1])  # seconds before the greeting


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        time.sleep(DELAY)
        self.reply(220)
        recipient = ""
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"RCPT":
                recipient = re.findall(r"<(.*?)>", line.decode())[0]
            if command == b"DATA":
                self.reply(354)
                body = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                (site,) = re.findall(r"(https?://[^/]*)/accounts/reset/", body)
                # One write, because a thread of another mail may write between two.
                print(json.dumps({"to": recipient, "site": site}) + "\n", end="", flush=True)
            self.reply(221 if command == b"QUIT" else 250)
            if command == b"QUIT":
                return

    def reply(self, code: int) -> None:
        self.wfile.write(f"{code} OK\r\n".encode())


socketserver.ThreadingTCPServer(("", 2525), Session).serve_forever()
