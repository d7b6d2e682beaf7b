#include "client/cli/exit_codes.h"

#include "client/lib/provisioner_client.h"
#include "mayfly/base/cause.h"

namespace mayfly {

ExitCode ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return status.GetPayload(kDiagnosticsPayload).has_value() ? kExitSpec : kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitAuth;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kResourceExhausted:
      return kExitConflict;
    case absl::StatusCode::kFailedPrecondition:
      return kExitHost;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimeout;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitInternal;
  }
}

ExitCode ExitCodeFor(v1::Verdict verdict, const v1::Cause& cause, v1::Environment::State state) {
  const CauseCode code = CauseCodeFromName(cause.code());
  switch (verdict) {
    case v1::VERDICT_PASSED:
      return kExitOk;
    case v1::VERDICT_FAILED:
      return kExitTests;
    case v1::VERDICT_CANCELLED:
      if (code == CauseCode::kSuperseded) return kExitConflict;
      return code == CauseCode::kExpired ? kExitTimeout : kExitInterrupted;
    case v1::VERDICT_ERROR:
      if (code == CauseCode::kSpecInvalid || code == CauseCode::kUnsupported) return kExitSpec;
      return code == CauseCode::kEngineUnavailable ? kExitHost : kExitEnvironment;
    default:
      return state == v1::Environment::FAILED ? kExitEnvironment : kExitOk;
  }
}

}  // namespace mayfly
