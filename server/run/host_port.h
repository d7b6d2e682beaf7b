// A port of a node that is reachable from the host.
#ifndef MAYFLY_SERVER_RUN_HOST_PORT_H_
#define MAYFLY_SERVER_RUN_HOST_PORT_H_

#include <string>

#include "mayfly/spec/process.h"

namespace mayfly {

struct HostPort {
  std::string address;  // "127.0.0.1:20480"
  std::string url;      // As EndpointUrl.
};

// "http://127.0.0.1:20480" when `port` is probed by HTTP or is named "http" (as the port of a service of type http is
// without a name of its own), "https://..." when it is named so; the bare address for what speaks another protocol.
std::string EndpointUrl(const ProcessSpec& process, int port, const std::string& address);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_HOST_PORT_H_
