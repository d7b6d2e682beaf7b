// What goes over HTTP: plain values, without anything of the library that carries them.
#ifndef MAYFLY_SERVER_HTTP_MESSAGE_H_
#define MAYFLY_SERVER_HTTP_MESSAGE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::http {

struct Header {
  std::string name;
  std::string value;  // Without line breaks; a request with one is INVALID_ARGUMENT.
  friend bool operator==(const Header&, const Header&) = default;
};
using Headers = std::vector<Header>;

// How a server proves itself and we prove ourselves to it. PEM texts in memory, never paths: whoever reads the files
// decides when they are read again, by making a new value. Connections are shared only between equal values.
struct Tls {
  std::string ca;           // Certificates of the authorities to trust, and no others; empty: those of the system.
  std::string certificate;  // Client certificate, followed by its chain; empty: none.
  std::string key;          // Of `certificate`.
  std::string server_name;  // The name that the server's certificate must carry, when it is not the host of the URL.
  bool insecure = false;    // Accepts any certificate.
  friend bool operator==(const Tls&, const Tls&) = default;
};

struct Request {
  std::string method = "GET";
  std::string url;  // http:// or https://; nothing else is spoken and redirects are not followed.
  Headers headers;
  std::string body;
  std::shared_ptr<const Tls> tls;  // Null: trust of the system, no client certificate.
  std::string proxy;               // URL of a proxy; empty: none. The environment's *_PROXY are never looked at.
  absl::Duration deadline = absl::Seconds(30);     // For all of it, waiting for a connection included; may be infinite.
  absl::Duration connect = absl::Seconds(10);      // For one connection to stand, TLS included.
  absl::Duration idle = absl::InfiniteDuration();  // Longest time without a byte of an answer.
  size_t max_bytes = size_t{64} << 20;             // Of a response's body; streams have no such bound.
  bool fresh_connection = false;                   // Not over a connection that stands: it may be a dead one.
};

struct Response {
  int status = 0;
  Headers headers;  // Names in lower case, in the order of arrival.
  std::string body;

  // The first value under `name` (lower case); empty when there is none.
  absl::string_view Find(absl::string_view name) const;
};

// How one request ended. `response` is set whenever an answer came, whatever its HTTP status. Otherwise:
//   UNAVAILABLE         no connection, a reset, an answer that ended early or was no HTTP
//   DEADLINE_EXCEEDED   `deadline`, `connect` or `idle` passed
//   UNAUTHENTICATED     TLS failed for a reason that trying again does not mend; the message names it
//   RESOURCE_EXHAUSTED  the answer is over max_bytes
//   INVALID_ARGUMENT    the request cannot be put: URL, header
//   CANCELLED           Cancel, or the Client's end
// Messages name host and cause, never a header, a body or the URL's query.
struct Outcome {
  absl::StatusOr<Response> response;
  // False only when it is certain that the server saw nothing of the request. libcurl puts a request a second time by
  // itself when a kept connection turns out closed before any answer, so true also covers "twice".
  bool sent = false;
};

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_MESSAGE_H_
