// Between the values of the core and the messages of mayfly.v1. Pure; protobuf types go no further than this folder.
#ifndef MAYFLY_SERVER_API_CONVERT_H_
#define MAYFLY_SERVER_API_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/engine/capabilities.h"
#include "mayfly/report/event.h"
#include "mayfly/spec/environment_request.h"
#include "mayfly/v1/environment.pb.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

// `text`, escaped when it is not UTF-8: a client drops a whole message for one string that is not, and evidence is
// whatever a service printed.
std::string Utf8(const std::string& text);

// Infinite values have no message: callers leave the field unset.
google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
absl::Duration FromProto(const google::protobuf::Duration& duration);

v1::Environment::State ToProto(EnvironmentState state);
v1::Node::State ToProto(NodeState state);
v1::Node::Kind ToProto(NodeKind kind);
v1::Verdict ToProto(Verdict verdict);

v1::Cause ToProto(const Cause& cause);
v1::Usage ToProto(const Usage& usage);
v1::Receipt ToProto(const Receipt& receipt);
v1::Event ToProto(const Event& event);
v1::Node ToProto(const PlannedNode& node);
v1::Node ToProto(const NodeView& node);
v1::Diagnostic ToProto(const Diagnostic& diagnostic);
v1::ServerInfo::Check ToProto(const CapabilityCheck& check);
v1::PlanEnvironmentResponse ToProto(const Plan& plan, const Diagnostics& diagnostics);

enum class Nodes { kWith, kWithout };
v1::Environment ToProto(const EnvironmentView& view, Nodes nodes);

// The environment of that name, or, with a uid, exactly this one, whatever has its name now. NOT_FOUND.
absl::StatusOr<EnvironmentViewRef> FindEnvironment(Provisioner& provisioner, const std::string& name,
                                                   const std::string& uid);

// `request` has been validated (server/api/validate.h).
EnvironmentRequest FromProto(const v1::CreateEnvironmentRequest& request, absl::string_view owner);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_CONVERT_H_
