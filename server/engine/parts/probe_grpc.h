// A probe's call of grpc.health.v1.Health/Check, over just as much HTTP/2 as one unary call in the clear needs.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_GRPC_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_GRPC_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "server/engine/parts/probe_exchange.h"

namespace mayfly {

// `authority` is "10.0.0.2:8080"; `service` may be empty: the server as a whole. Healthy as soon as SERVING was read.
// Other answers come as "gRPC health: NOT_SERVING", "gRPC health: NOT_FOUND: 'unknown service'", or, from a server
// without the health service, as UNIMPLEMENTED with what to do.
std::unique_ptr<ProbeProtocol> MakeGrpcProbe(absl::string_view authority, absl::string_view service);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_GRPC_H_
