// From a context to an Endpoint: reads what the context points at, and keeps it fresh.
//
// Certificates, the CA and token files are read again about every minute and after a refusal, so that what is rotated
// on disk, as a pod's projected token is, is taken up without a restart. A credential plugin runs when its credentials
// end and after a refusal, never twice at a time.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CREDENTIALS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CREDENTIALS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/engine/kubernetes/client/kubeconfig.h"

namespace mayfly::kube {

struct CredentialOptions {
  absl::Duration file_period = absl::Minutes(1);
  absl::Duration plugin_deadline = absl::Minutes(1);
  // Between two runs of a plugin that refusals ask for: what the server refuses for good must not become a storm.
  absl::Duration refusal_pause = absl::Seconds(5);
  std::function<absl::Time()> now = absl::Now;
  std::vector<std::string> plugin_env = ServerEnvironment();  // "NAME=value"

  static std::vector<std::string> ServerEnvironment();
};

// Reads every file once, so that what is missing or wrong shows here: the status names context, entry and file. A
// plugin runs with the first request. Over http:// no credentials are sent, as with kubectl: only impersonation is
// kept.
//
// The Endpoint's authorizer is thread-safe and has a thread of its own where anything can change. Its callbacks run
// there or inline. With its end a plugin that runs is killed and who waits gets CANCELLED. When what is on disk can no
// longer be read, the last that was read is used until the server refuses it; then the error is told.
absl::StatusOr<Endpoint> MakeEndpoint(const KubeContext& context, const CredentialOptions& options = {});

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_CREDENTIALS_H_
