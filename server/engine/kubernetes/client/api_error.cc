#include "server/engine/kubernetes/client/api_error.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/json_text.h"

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kPayload = "type.mayfly/kube.ApiFailure";
constexpr size_t kMaxMessage = 2048;
constexpr size_t kMaxCauses = 32;

absl::StatusCode CodeOf(const ApiFailure& failure) {
  switch (failure.http) {
    case 400:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      if (failure.reason == "AlreadyExists") return absl::StatusCode::kAlreadyExists;
      // The server has no reason of its own for preconditions, and two ways to say so.
      return absl::StrContains(failure.message, "Precondition failed") ||
                     absl::StrContains(failure.message, "UID in the precondition")
                 ? absl::StatusCode::kFailedPrecondition
                 : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    default:
      return failure.http >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kUnknown;
  }
}

std::string Shorten(std::string text) {
  if (text.size() > kMaxMessage) {
    text.resize(kMaxMessage - 3);
    text += "...";
  }
  return text;
}

void Attach(absl::Status& status, const ApiFailure& failure) {
  Json causes = Json::array();
  for (const ApiCause& cause : failure.causes) causes.push_back({cause.field, cause.reason, cause.message});
  const Json json = {{"http", failure.http},
                     {"reason", failure.reason},
                     {"message", failure.message},
                     {"causes", causes},
                     {"unknown", failure.unknown_outcome}};
  status.SetPayload(kPayload, absl::Cord(json.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

}  // namespace

ApiFailure FailureOf(const absl::Status& status) {
  ApiFailure failure;
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) return failure;
  const absl::StatusOr<Json> parsed = ParseJson(std::string(*payload));
  if (!parsed.ok()) return failure;
  failure.http = static_cast<int>(NumberAt(*parsed, {"http"}));
  failure.reason = TextAt(*parsed, {"reason"});
  failure.message = TextAt(*parsed, {"message"});
  failure.unknown_outcome = ValueAt(*parsed, {"unknown"}) == true;
  for (const Json& cause : ValueAt(*parsed, {"causes"})) {
    failure.causes.push_back({cause[0].get<std::string>(), cause[1].get<std::string>(), cause[2].get<std::string>()});
  }
  return failure;
}

absl::Status StatusOf(const ApiFailure& failure, absl::string_view what) {
  absl::Status status(CodeOf(failure), Shorten(EscapeLine(absl::StrCat(what, ": ", failure.message))));
  Attach(status, failure);
  return status;
}

ApiFailure ParseFailure(int http, absl::string_view body) {
  ApiFailure failure;
  failure.http = http;
  const absl::StatusOr<Json> parsed = ParseJson(body);
  if (parsed.ok() && TextAt(*parsed, {"kind"}) == "Status") {
    failure.reason = TextAt(*parsed, {"reason"});
    failure.message = TextAt(*parsed, {"message"});
    const Json& causes = ValueAt(*parsed, {"details", "causes"});
    for (size_t i = 0; causes.is_array() && i < causes.size() && i < kMaxCauses; ++i) {
      failure.causes.push_back(
          {TextAt(causes[i], {"field"}), TextAt(causes[i], {"reason"}), TextAt(causes[i], {"message"})});
    }
  }
  if (failure.message.empty()) {
    const absl::string_view text = absl::StripAsciiWhitespace(body).substr(0, 200);
    failure.message = absl::StrCat("HTTP status ", http, text.empty() ? "" : ": ", text);
  }
  return failure;
}

absl::Status WithUnknownOutcome(const absl::Status& status) {
  ApiFailure failure = FailureOf(status);
  failure.unknown_outcome = true;
  absl::Status marked(status.code(), absl::StrCat(status.message(), " (it may have been done all the same)"));
  Attach(marked, failure);
  return marked;
}

}  // namespace mayfly::kube
