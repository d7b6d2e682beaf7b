#include "server/api/tls.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/grpc.h"
#include "grpc/grpc_security.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "server/base/pem.h"
#include "server/obs/log.h"

namespace mayfly::api {
namespace {

// Changes when any of the files does, whether it is written to or replaced.
std::string Stamp(const TlsFiles& files) {
  std::string stamp;
  for (const std::string& path : {files.cert, files.key, files.client_ca}) {
    struct stat info{};
    if (path.empty() || stat(path.c_str(), &info) != 0) info = {};
    absl::StrAppend(&stamp, info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".",
                    info.st_mtim.tv_nsec, ":", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec, " ");
  }
  return stamp;
}

absl::StatusOr<std::string> ReadFile(absl::string_view flag, const std::string& path) {
  if (path.empty()) return "";
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  if (!file) return absl::FailedPreconditionError(absl::StrCat("cannot read ", path, " of ", flag));
  return content.str();
}

// grpc++ wraps only credentials whose files never change; the C library has those that ask anew.
class ReloadingTls final : public grpc::ServerCredentials {
 public:
  explicit ReloadingTls(TlsFiles files) : files_(std::move(files)) {
    const auto request = files_.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                  : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    // Takes over the options.
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(request, &ReloadingTls::Fetch, this));
  }
  ~ReloadingTls() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

  absl::StatusOr<grpc_ssl_server_certificate_config*> Load() const {
    MAYFLY_ASSIGN_OR_RETURN(const std::string cert, ReadFile("--tls-cert", files_.cert));
    MAYFLY_ASSIGN_OR_RETURN(const std::string key, ReadFile("--tls-key", files_.key));
    MAYFLY_ASSIGN_OR_RETURN(const std::string ca, ReadFile("--tls-client-ca", files_.client_ca));
    if (const absl::Status usable = CheckTlsPem(cert, key, ca); !usable.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("--tls-cert, --tls-key, --tls-client-ca: ", usable.message(),
                                                        "; try: openssl x509 -noout -text -in ", files_.cert));
    }
    const grpc_ssl_pem_key_cert_pair pair = {key.c_str(), cert.c_str()};
    // gRPC 1.51 aborts without authorities, although nobody is asked for a certificate then: any will do.
    return grpc_ssl_server_certificate_config_create(ca.empty() ? cert.c_str() : ca.c_str(), &pair, 1);
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<ReloadingTls*>(self)->FetchIfChanged(config);
  }

  // On gRPC's threads.
  grpc_ssl_certificate_config_reload_status FetchIfChanged(grpc_ssl_server_certificate_config** config) {
    MutexLock lock(mutex_);
    // Before reading: what changes meanwhile is seen by the next connection.
    std::string stamp = Stamp(files_);
    if (stamp == seen_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const bool first = seen_.empty();
    seen_ = std::move(stamp);
    const absl::StatusOr<grpc_ssl_server_certificate_config*> loaded = Load();
    if (!loaded.ok()) {
      LogWarning("TLS files changed and cannot be used; the former ones stay in force",
                 {{"error", std::string(loaded.status().message())}});
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    }
    if (!first) LogInfo("TLS files are read again", {{"cert", files_.cert}});
    *config = *loaded;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const TlsFiles files_;
  grpc_server_credentials* credentials_ = nullptr;
  Mutex mutex_;
  std::string seen_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTlsCredentials(const TlsFiles& files) {
  auto credentials = std::make_shared<ReloadingTls>(files);
  const absl::StatusOr<grpc_ssl_server_certificate_config*> config = credentials->Load();
  if (!config.ok()) return config.status();
  grpc_ssl_server_certificate_config_destroy(*config);
  return credentials;
}

}  // namespace mayfly::api
