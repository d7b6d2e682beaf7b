#!/usr/bin/python3
"""A server that reaches the cluster's API through a proxy only: CONNECT over TLS, plain CONNECT, socks5."""
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

import cluster_test
import layout
import supervise
from environments_test import ENVSPECS, Server

API = f"{layout.NODE_ADDRESS}:{layout.API_PORT}"


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise OSError("ended early")
        data += more
    return data


def wanted_by_connect(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(stream, 1)
    verb, target, _ = head.split(b"\r\n", 1)[0].split()
    if verb != b"CONNECT":
        raise OSError(f"not a CONNECT: {head[:80]!r}")
    return target.decode(), b"HTTP/1.1 200 OK\r\n\r\n"


def wanted_by_socks5(stream):
    version, methods = exactly(stream, 2)
    if version != 5 or 0 not in exactly(stream, methods):
        raise OSError("not socks5 without a password")
    stream.sendall(b"\5\0")
    _, command, _, kind = exactly(stream, 4)
    if command != 1 or kind not in (1, 3):
        raise OSError("not a CONNECT of socks5")
    host = socket.inet_ntoa(exactly(stream, 4)) if kind == 1 else exactly(stream, exactly(stream, 1)[0]).decode()
    port = int.from_bytes(exactly(stream, 2), "big")
    return f"{host}:{port}", b"\5\0\0\1\0\0\0\0\0\0"


def carry(kind, stream, context):
    try:
        if context is not None:
            stream = context.wrap_socket(stream, server_side=True)
        target, answer = (wanted_by_socks5 if kind == "socks5" else wanted_by_connect)(stream)
        print(target, flush=True)
        host, port = target.rsplit(":", 1)
        upstream = socket.create_connection((host, int(port)))
        stream.sendall(answer)
    except OSError as error:
        print(f"refused: {error}", flush=True)
        stream.close()
        return
    threading.Thread(target=copy, args=(stream, upstream), daemon=True).start()
    copy(upstream, stream)


def serve(kind, certificate):
    """One line with the port, then one for each connection."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(layout.PKI / f"{certificate}.crt", layout.PKI / f"{certificate}.key")
    listener = socket.create_server((layout.NODE_ADDRESS, 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=carry, args=(kind, stream, context), daemon=True).start()


class Proxies(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-proxies-")
        self.path = pathlib.Path(self.folder.name)
        self.proxy = None

    def tearDown(self):
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy.stdout.close()
        self.folder.cleanup()

    def server(self, kind, certificate=""):
        self.proxy = subprocess.Popen(
            ["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net", sys.executable, "-B", __file__, "--serve", kind,
             certificate], stdout=subprocess.PIPE, text=True)
        port = int(self.proxy.stdout.readline())
        kubeconfig = self.path / "kubeconfig"
        kubeconfig.write_text(layout.KUBECONFIG.read_text().replace(
            "cluster: {server:", f'cluster: {{proxy-url: "{kind}://{layout.NODE_ADDRESS}:{port}", server:'))
        kubeconfig.chmod(0o600)
        server = Server(self.path)
        server.kubeconfig = kubeconfig
        return server

    def check(self, kind, certificate=""):
        server = self.server(kind, certificate)
        server.start()
        try:
            server.run("up", "-f", ENVSPECS / "hello")
            said = server.run("exec", "-T", "--name", "hello", "greeter", "--", "echo", "inside")
            self.assertEqual(said.strip(), "inside")
        finally:
            server.run("down", "--all", good=False)
            server.kill(signal.SIGTERM)
        self.proxy.kill()
        carried = self.proxy.stdout.read().splitlines()
        # Calls, watches and the command each have connections of their own.
        self.assertGreaterEqual(len(carried), 3)
        self.assertEqual(set(carried), {API})

    def test_connect_over_tls(self):
        self.check("https", "apiserver")

    def test_connect(self):
        self.check("http")

    def test_socks5(self):
        self.check("socks5")

    def test_a_proxy_that_nobody_vouches_for_is_refused(self):
        server = self.server("https", "policy")  # Of another name.
        with self.assertRaises(AssertionError) as refused:
            server.start()
        server.process.wait(90)
        self.assertRegex(str(refused.exception), "(?i)certificate|subject name")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:4])
    cluster_test.main()
