#include "server/engine/kubernetes/client/api_client.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/lister.h"
#include "server/engine/kubernetes/client/requester.h"
#include "server/engine/kubernetes/client/resource_path.h"
#include "server/engine/kubernetes/client/sure_write.h"

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> Parse(absl::StatusOr<std::string> body, absl::string_view what) {
  if (!body.ok()) return body.status();
  absl::StatusOr<Json> parsed = ParseJson(*body);
  if (!parsed.ok()) return absl::UnavailableError(absl::StrCat(what, ": the answer is ", parsed.status().message()));
  return parsed;
}

void Run(Requester& requester, ApiCall call, ApiClient::Done done) {
  call.deadline = requester.Now() + requester.options().deadline;
  const std::string what = call.what;
  requester.Call(std::move(call), [done = std::move(done), what](ApiReply reply) {
    const bool unknown = !reply.body.ok() && reply.maybe_done;
    absl::StatusOr<Json> value = Parse(std::move(reply.body), what);
    if (unknown) value = WithUnknownOutcome(value.status());
    done(std::move(value));
  });
}

// For objects that cannot be sent at all: `done` still comes on the client's thread.
void Reject(Requester& requester, absl::Status status, ApiClient::Done done) {
  requester.loop().Post([status = std::move(status), done = std::move(done)]() mutable { done(std::move(status)); });
}

}  // namespace

ApiClient::ApiClient(Endpoint endpoint, ApiClientOptions options)
    : calls_(std::make_unique<Requester>(endpoint, options, options.connections)),
      streams_(std::make_unique<Requester>(endpoint, options, options.stream_connections)) {}

ApiClient::~ApiClient() = default;

ClientStats ApiClient::stats() const {
  ClientStats stats;
  calls_->AddTo(stats);
  streams_->AddTo(stats);
  return stats;
}

void ApiClient::Get(absl::string_view path, Done done) {
  Run(*calls_, {.verb = "get", .what = Describe("get", path), .target = std::string(path)}, std::move(done));
}

void ApiClient::List(absl::string_view collection, absl::string_view label_selector, absl::string_view field_selector,
                     Done done) {
  ListAll(*calls_, {std::string(collection), std::string(label_selector), std::string(field_selector)},
          std::move(done));
}

void ApiClient::Apply(absl::string_view path, Json object, Done done) {
  const std::string what = Describe("apply", path);
  const absl::StatusOr<std::string> body = DumpJson(object);
  if (!body.ok()) return Reject(*calls_, Annotate(body.status(), what), std::move(done));
  Run(*calls_,
      {.verb = "apply",
       .what = what,
       .method = "PATCH",
       .target = Target(path, {{"fieldManager", calls_->options().field_manager},
                               {"force", "true"},
                               {"fieldValidation", "Strict"},
                               {"dryRun", DryRun(*calls_)}}),
       .content_type = "application/apply-patch+yaml",
       .body = *body},
      std::move(done));
}

void ApiClient::Patch(absl::string_view path, absl::string_view content_type, Json patch, Done done) {
  const std::string what = Describe("patch", path);
  const absl::StatusOr<std::string> body = DumpJson(patch);
  if (!body.ok()) return Reject(*calls_, Annotate(body.status(), what), std::move(done));
  Run(*calls_,
      {.verb = "patch",
       .what = what,
       .method = "PATCH",
       .target = Target(path, {{"fieldManager", calls_->options().field_manager},
                               {"fieldValidation", "Strict"},
                               {"dryRun", DryRun(*calls_)}}),
       .content_type = std::string(content_type),
       .body = *body,
       .repeatable = content_type != "application/json-patch+json"},
      std::move(done));
}

void ApiClient::Create(absl::string_view collection, Json object, Done done) {
  const std::string what = Describe("create", collection, TextAt(object, {"metadata", "name"}));
  absl::StatusOr<std::string> body = DumpJson(object);
  if (!body.ok()) return Reject(*calls_, Annotate(body.status(), what), std::move(done));
  SureCreate(*calls_, collection, object, *std::move(body), std::move(done));
}

void ApiClient::Delete(absl::string_view path, DeleteOptions options, Done done) {
  SureDelete(*calls_, path, std::move(options), std::move(done));
}

void ApiClient::DeleteCollection(absl::string_view collection, absl::string_view label_selector, DeleteOptions options,
                                 Done done) {
  Run(*calls_,
      {.verb = "deletecollection",
       .what = Describe("delete all", collection),
       .method = "DELETE",
       .target = Target(collection, {{"labelSelector", std::string(label_selector)}, {"dryRun", DryRun(*calls_)}}),
       .content_type = "application/json",
       .body = DeleteBody(options)},
      std::move(done));
}

}  // namespace mayfly::kube
