"""Greets, with the time that the other service tells."""
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Greeter(BaseHTTPRequestHandler):
    def do_GET(self):
        time = urllib.request.urlopen(os.environ["CLOCK"], timeout=5).read().decode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"Hello! It is {time}.\n".encode())


ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Greeter).serve_forever()
