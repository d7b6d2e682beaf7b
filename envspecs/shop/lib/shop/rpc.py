"""gRPC with JSON messages, and the standard health service, without generated code.

    rpc.serve("shop.Pricing", Quote=quote)          # quote(sku=..., quantity=...) -> dict
    pricing = rpc.Client("pricing:50051", "shop.Pricing"); pricing.Quote(sku="mug", quantity=2)
"""
import json
from concurrent.futures import ThreadPoolExecutor

import grpc

from shop import end_on_sigterm, log, setting

_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


def _encode(value):
    return json.dumps(value).encode()


def _handler(function):
    def run(request, context):
        try:
            return function(**request)
        except (LookupError, ValueError) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    return grpc.unary_unary_rpc_method_handler(run, json.loads, _encode)


def serve(service, **methods):
    end_on_sigterm()
    health = grpc.unary_unary_rpc_method_handler(lambda request, context: _SERVING)
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler(service, {name: _handler(f) for name, f in methods.items()}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health})))
    port = int(setting("PORT", "50051"))
    server.add_insecure_port(f"{setting('HOST', '0.0.0.0')}:{port}")
    server.start()
    log(f"{service} listening on port {port}")
    server.wait_for_termination()


class Client:
    """Methods of a service on `address` as methods of this object."""

    def __init__(self, address, service):
        self._channel = grpc.insecure_channel(address)
        self._service = service

    def __getattr__(self, method):
        stub = self._channel.unary_unary(f"/{self._service}/{method}", _encode, json.loads)
        return lambda **request: stub(request, timeout=10, wait_for_ready=True)


Error = grpc.RpcError
