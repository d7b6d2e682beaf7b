// A probe's GET over HTTP/1.1: healthy as soon as the head of an answer with a status of 200 to 399 was read.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_HTTP_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_HTTP_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "server/engine/parts/probe_exchange.h"

namespace mayfly {

// `host` goes into the Host header ("10.0.0.2:8080"); `path` begins with '/', or "/" is put in front. Control
// characters and spaces in either are sent percent-encoded, so that no second request can be smuggled in.
std::unique_ptr<ProbeProtocol> MakeHttpProbe(absl::string_view host, absl::string_view path);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_HTTP_H_
