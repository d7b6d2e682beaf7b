"""What the shop's services share: web (HTTP), rpc (gRPC), db (PostgreSQL) and queue (Redis).

Each module is imported only by the services that use it, so that a service starts as fast as its own needs allow.
"""
import os
import signal
import sys


def setting(name, default=None):
    """A variable of the environment; without a default it must be there."""
    value = os.environ.get(name, default)
    if value is None:
        sys.exit(f"{os.path.basename(os.getcwd())}: the variable {name} is not set")
    return value


def log(message):
    print(message, flush=True)


def end_on_sigterm():
    """Ends the process at once: these services keep no state of their own."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
