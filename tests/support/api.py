"""A small gRPC client of mayfly.v1 for tests, from the .proto files alone."""
import importlib
import pathlib
import subprocess
import sys

import grpc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
SERVICE = "/mayfly.v1.EnvironmentService/"


def load(folder):
    """Generates the messages into `folder` and returns their modules (environment, environment_service)."""
    files = ["mayfly/v1/environment.proto", "mayfly/v1/environment_service.proto"]
    subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={folder}", *files], check=True)
    sys.path.insert(0, str(folder))
    return tuple(importlib.import_module(f"mayfly.v1.{name}_pb2") for name in ("environment", "environment_service"))


class Client:
    """Unary calls by name: client.GetEnvironment(messages.GetEnvironmentRequest(name=...))."""

    def __init__(self, socket, environment, service):
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._answers = {"GetServerInfo": service.ServerInfo, "ListEnvironments": service.ListEnvironmentsResponse,
                         "GetReport": service.GetReportResponse, "StopServer": service.StopServerResponse}
        self._environment = environment.Environment
        self._logs = service.StreamLogsResponse

    def __getattr__(self, method):
        answer = self._answers.get(method, self._environment)
        stub = self._channel.unary_unary(SERVICE + method, lambda message: message.SerializeToString(), answer.FromString)
        return lambda request, timeout=5: stub(request, timeout=timeout)

    def logs(self, request, timeout=5):
        stub = self._channel.unary_stream(SERVICE + "StreamLogs", lambda message: message.SerializeToString(),
                                          self._logs.FromString)
        return [line for answer in stub(request, timeout=timeout) for line in answer.lines]

    def close(self):
        self._channel.close()
