// absl::Status on the wire.
#ifndef MAYFLY_SERVER_API_GRPC_STATUS_H_
#define MAYFLY_SERVER_API_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly::api {

// Trailing metadata that carries a serialized v1::Diagnostics.
inline constexpr char kDiagnosticsKey[] = "mayfly.v1.diagnostics-bin";

// The same code; the message escaped and shortened to what a header may hold.
grpc::Status ToGrpc(const absl::Status& status);

// Errors first and in the order given, each shortened and as many as fit beside the message into the 8 KiB that a
// client accepts as metadata; `omitted` counts the others.
v1::Diagnostics ShortDiagnostics(const Diagnostics& diagnostics);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_GRPC_STATUS_H_
