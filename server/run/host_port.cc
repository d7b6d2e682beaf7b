#include "server/run/host_port.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {

std::string EndpointUrl(const ProcessSpec& process, int port, const std::string& address) {
  constexpr std::pair<const char*, const char*> kSchemes[] = {
      {"http", "http"}, {"https", "https"}, {"redis", "redis"}, {"postgres", "postgresql"}};
  for (const Port& declared : process.ports) {
    for (const auto& [name, scheme] : kSchemes) {
      if (declared.number == port && declared.name == name) return absl::StrCat(scheme, "://", address);
    }
  }
  const bool probed = process.probe.kind == Probe::Kind::kHttp && process.probe.port == port;
  return probed ? absl::StrCat("http://", address) : address;
}

}  // namespace mayfly
