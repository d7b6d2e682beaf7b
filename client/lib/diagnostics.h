// Diagnostics that came with a status, as text.
#ifndef MAYFLY_CLIENT_LIB_DIAGNOSTICS_H_
#define MAYFLY_CLIENT_LIB_DIAGNOSTICS_H_

#include <string>

#include "absl/status/status.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly {

Diagnostic FromProto(const v1::Diagnostic& diagnostic);

// As FormatDiagnostics, for the payload kDiagnosticsPayload of `status`; "" without one.
std::string FormatPayload(const absl::Status& status);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_DIAGNOSTICS_H_
