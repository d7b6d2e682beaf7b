// The only validator of requests: clients send what users wrote and show what comes back. Every message names the field
// by its path; all violations of a request come together. Pure.
#ifndef MAYFLY_SERVER_API_VALIDATE_H_
#define MAYFLY_SERVER_API_VALIDATE_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/run/provisioner.h"
#include "server/store/store.h"

namespace mayfly::api {

// INVALID_ARGUMENT: "source: is required; ttl: must be positive".
absl::Status Validate(const v1::CreateEnvironmentRequest& request);
absl::Status Validate(const v1::WatchEnvironmentRequest& request);
absl::Status Validate(const v1::DeleteEnvironmentRequest& request);
absl::Status Validate(const v1::StreamLogsRequest& request);
absl::Status Validate(const v1::RunTestsRequest& request);
absl::Status Validate(const v1::RestartServicesRequest& request);
absl::Status Validate(const v1::GetReportRequest& request);
absl::Status Validate(const v1::ExecRequest::Start& start);
absl::Status Validate(const v1::PortForwardRequest::Start& start);
// A name that an environment may have, in field "name".
absl::Status ValidateName(const std::string& name);

// Terms joined by AND: "state=ACTIVE", "owner=alice", "name=shop*" (or a whole name). Several states are alternatives.
struct ParsedFilter {
  ListFilter filter;
  std::string exact_name;  // "name=shop" without a star.
  std::map<std::string, std::string> labels;
  // Whether it fulfils what `filter` does not know.
  bool Takes(const EnvironmentRecord& record) const;
};
absl::StatusOr<ParsedFilter> ParseFilter(const v1::ListEnvironmentsRequest& request);
// 0 is the default of 100; more than 1000 is 1000.
absl::StatusOr<int> PageSize(const v1::ListEnvironmentsRequest& request);

// What the mask says is to be changed.
absl::StatusOr<Provisioner::UpdateOptions> ParseUpdate(const v1::UpdateEnvironmentRequest& request);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_VALIDATE_H_
