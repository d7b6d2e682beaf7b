// What an API server says when it says no, as a status for people and as values for programs.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_ERROR_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_ERROR_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly::kube {

struct ApiCause {
  std::string field;    // "spec.containers[0].image"; may be empty.
  std::string reason;   // "FieldValueInvalid", "UnexpectedServerResponse".
  std::string message;  // Untrusted, as all texts here: EscapeLine to print.
};

// The answer behind a failed call; http is 0 when there was none (connection, TLS, deadline).
struct ApiFailure {
  int http = 0;
  std::string reason;   // "AlreadyExists", "Invalid"; empty when the body was no Status object.
  std::string message;  // The server's own sentence, unescaped.
  std::vector<ApiCause> causes;
  bool unknown_outcome = false;  // The server may have done what it was asked; nobody could tell by re-reading either.
};

// The failure that the client packed into `status`; a value with http 0 for statuses from elsewhere. Kept by Annotate.
ApiFailure FailureOf(const absl::Status& status);

// A status that carries `failure`, with "what: sentence" as its message (escaped, at most 2 KiB) and the code for it:
//   400 INVALID_ARGUMENT           409 AlreadyExists ALREADY_EXISTS     422 INVALID_ARGUMENT
//   401 UNAUTHENTICATED            409 of a precondition FAILED_PRECONDITION   429 RESOURCE_EXHAUSTED
//   403 PERMISSION_DENIED          409 otherwise ABORTED                5xx UNAVAILABLE
//   404 NOT_FOUND                  410 OUT_OF_RANGE                     others UNKNOWN
absl::Status StatusOf(const ApiFailure& failure, absl::string_view what);

// The failure in a body that came with HTTP status `http`. `body` is a Status object or anything else, of which the
// first words are quoted.
ApiFailure ParseFailure(int http, absl::string_view body);

// `status` with unknown_outcome set, and a sentence that says so.
absl::Status WithUnknownOutcome(const absl::Status& status);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_ERROR_H_
