#include "server/run/host_port.h"

#include "absl/strings/str_cat.h"

namespace mayfly {

std::string EndpointUrl(const ProcessSpec& process, int port, const std::string& address) {
  for (const Port& declared : process.ports) {
    if (declared.number == port && declared.name == "https") return absl::StrCat("https://", address);
    if (declared.number == port && declared.name == "http") return absl::StrCat("http://", address);
  }
  const bool probed = process.probe.kind == Probe::Kind::kHttp && process.probe.port == port;
  return probed ? absl::StrCat("http://", address) : address;
}

}  // namespace mayfly
