// The command line of mayflyd.
#ifndef MAYFLY_SERVER_APP_FLAGS_H_
#define MAYFLY_SERVER_APP_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::app {

struct Flags {
  bool help = false;
  bool version = false;
  bool print_causes = false;
  std::string state_dir;  // Empty: DefaultStateDir().
  std::string engine = "local";
  std::string listen;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string token_file;
  std::string admins;  // Names, with commas.
  std::vector<std::string> sources;
  bool reflection = true;
  absl::Duration exit_when_idle = absl::InfiniteDuration();
  bool egress_to_host = false;
  std::string kubeconfig;
  std::string kube_context;
  std::string gate_listen;
  bool gate_relay = false;
  std::string registry;
  std::string registry_config;
  std::vector<std::string> registry_insecure;
  std::string ingress_domain;
  std::string ingress_class;
  std::string ingress_namespace;
  bool ingress_tls = false;
  std::string kube_namespaces;
  absl::Duration kube_namespace_wait = absl::Minutes(10);
  int ready_fd = -1;
  int max_connections = 0;  // 0: from the limit of descriptors.
  bool sync_full = false;
  std::string log_file;
  std::string log_format = "logfmt";
  std::string log_level = "info";
};

// "--name=value", "--name value", and "--name" or "--no-name" for switches. INVALID_ARGUMENT names the flag and what it
// takes; an unknown one gets the nearest name.
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& args);

// The text of --help.
std::string FlagsHelp();

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_FLAGS_H_
