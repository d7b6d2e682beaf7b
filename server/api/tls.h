// TLS for the TCP listener, from files that may be replaced while the server runs.
#ifndef MAYFLY_SERVER_API_TLS_H_
#define MAYFLY_SERVER_API_TLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace mayfly::api {

struct TlsFiles {
  std::string cert;
  std::string key;
  std::string client_ca;  // Empty: clients show no certificate.
};

// Each new connection looks whether the files have changed (one stat each) and reads them again then; connections that
// stand are not touched. Files that cannot be used leave what was in force and a warning in the log.
// FAILED_PRECONDITION when they cannot be read or used now.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTlsCredentials(const TlsFiles& files);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_TLS_H_
