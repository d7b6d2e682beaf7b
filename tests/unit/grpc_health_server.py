"""A real gRPC server for probe_grpc_test: prints its ports, with and without the health service, and ends with stdin."""
import sys
from concurrent import futures

import grpc


def check(request, context):
    service = request[2:].decode()
    if service in ("", "up"):
        return b"\x08\x01"
    if service == "down":
        return b"\x08\x02"
    context.abort(grpc.StatusCode.NOT_FOUND, "no such service: " + service)


def serve(handlers):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


health = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})
with_health, port = serve((health,))
without, other = serve(())
print(port, other, flush=True)
sys.stdin.read()
with_health.stop(0)
without.stop(0)
