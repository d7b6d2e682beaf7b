// Specs read by the client itself, for the verbs that need no server.
#ifndef MAYFLY_CLIENT_CLI_OFFLINE_SPEC_H_
#define MAYFLY_CLIENT_CLI_OFFLINE_SPEC_H_

#include "absl/status/statusor.h"
#include "client/cli/session.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

// The catalogue of -f or the nearest spec upwards, with all that is wrong in it. NOT_FOUND: there is no spec.
absl::StatusOr<LoadedCatalogue> LoadOffline(Session& session);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_OFFLINE_SPEC_H_
