#!/usr/bin/python3 -IS
"""A service that starts slowly on command: sleep MS, spin MS, ignore-term, tcp PORT, done in this order.

The benchmarks use the C program in tests/workloads in its place, which takes the same words and starts faster.
"""
import os
import signal
import socket
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
sockets, words = [], iter(sys.argv[1:])
for word in words:
    if word == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif word == "sleep":
        time.sleep(int(next(words)) / 1000)
    elif word == "spin":
        end = time.process_time() + int(next(words)) / 1000
        while time.process_time() < end:
            pass
    elif word == "tcp":
        sockets.append(socket.create_server(("", int(next(words)))))
    else:
        sys.exit(f"unknown word {word}")
while not sockets:
    signal.pause()
while True:
    sockets[0].accept()[0].close()
