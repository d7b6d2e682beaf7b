"""Tells the time."""
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Clock(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(time.strftime("%H:%M").encode())


ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Clock).serve_forever()
