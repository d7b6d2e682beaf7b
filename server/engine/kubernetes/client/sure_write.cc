#include "server/engine/kubernetes/client/sure_write.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/requester.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

// What a lost answer is looked up with, even where the call's own time is over.
constexpr absl::Duration kLookUp = absl::Seconds(5);

absl::StatusOr<Json> Parsed(absl::StatusOr<std::string> body, absl::string_view what) {
  if (!body.ok()) return std::move(body).status();
  absl::StatusOr<Json> value = ParseJson(*body);
  if (!value.ok()) return absl::UnavailableError(absl::StrCat(what, ": the answer is ", value.status().message()));
  return value;
}

void LookUp(Requester& requester, const std::string& path, absl::Duration deadline,
            std::function<void(absl::StatusOr<Json>)> done) {
  const std::string what = Describe("get", path);
  requester.Call(
      {.verb = "get", .what = what, .target = path, .deadline = std::max(deadline, requester.Now() + kLookUp)},
      [done = std::move(done), what](ApiReply reply) { done(Parsed(std::move(reply.body), what)); });
}

class Creation : public std::enable_shared_from_this<Creation> {
 public:
  Creation(Requester& requester, absl::string_view collection, const Json& object, std::string body,
           ApiClient::Done done)
      : requester_(requester),
        collection_(collection),
        name_(TextAt(object, {"metadata", "name"})),
        identity_(IdentityOf(object)),
        body_(std::move(body)),
        what_(Describe("create", collection, name_)),
        done_(std::move(done)),
        deadline_(requester.Now() + requester.options().deadline) {}

  void Put() {
    requester_.Call({.verb = "create",
                     .what = what_,
                     .method = "POST",
                     .target = Target(collection_, {{"fieldManager", requester_.options().field_manager},
                                                    {"fieldValidation", "Strict"},
                                                    {"dryRun", DryRun(requester_)}}),
                     .content_type = "application/json",
                     .body = body_,
                     .repeatable = false,
                     .deadline = deadline_,
                     .earlier = tries_++},
                    [self = shared_from_this()](ApiReply reply) { self->OnReply(std::move(reply)); });
  }

 private:
  std::string IdentityOf(const Json& object) const {
    const std::string& key = requester_.options().identity_annotation;
    return key.empty() ? "" : TextAt(object, {"metadata", "annotations", key});
  }

  void OnReply(ApiReply reply) {
    if (reply.body.ok()) return done_(Parsed(std::move(reply.body), what_));
    absl::Status status = std::move(reply.body).status();
    const bool exists = absl::IsAlreadyExists(status);
    const bool unknown = reply.maybe_done && !exists;
    // An object that exists may be ours all the same: from an attempt that libcurl repeated, or one that came late.
    if (!unknown && !(exists && !identity_.empty())) return done_(std::move(status));
    if (name_.empty()) return done_(unknown ? WithUnknownOutcome(status) : std::move(status));
    LookUp(requester_, absl::StrCat(collection_, "/", name_), deadline_,
           [self = shared_from_this(), status = std::move(status), unknown](absl::StatusOr<Json> found) mutable {
             self->OnFound(std::move(found), std::move(status), unknown);
           });
  }

  void OnFound(absl::StatusOr<Json> found, absl::Status status, bool unknown) {
    if (found.ok()) {
      if (!identity_.empty() && IdentityOf(*found) == identity_) return done_(std::move(found));
      return done_(unknown ? Foreign() : std::move(status));
    }
    if (!unknown) return done_(std::move(status));
    if (!absl::IsNotFound(found.status())) return done_(WithUnknownOutcome(status));
    // Nothing of ours is there. Should the lost attempt still be on its way, then this one finds its object.
    if (requester_.Now() >= deadline_) return done_(WithUnknownOutcome(status));
    Put();
  }

  absl::Status Foreign() const {
    return StatusOf({.http = 409,
                     .reason = "AlreadyExists",
                     .message = absl::StrCat("\"", name_, "\" already exists and was not made by this call")},
                    what_);
  }

  Requester& requester_;
  const std::string collection_;
  const std::string name_;
  const std::string identity_;
  const std::string body_;
  const std::string what_;
  const ApiClient::Done done_;
  const absl::Duration deadline_;
  int tries_ = 0;
};

class Deletion : public std::enable_shared_from_this<Deletion> {
 public:
  Deletion(Requester& requester, absl::string_view path, DeleteOptions options, ApiClient::Done done)
      : requester_(requester),
        path_(path),
        options_(std::move(options)),
        what_(Describe("delete", path)),
        done_(std::move(done)),
        deadline_(requester.Now() + requester.options().deadline) {}

  void Put() {
    requester_.Call({.verb = "delete",
                     .what = what_,
                     .method = "DELETE",
                     .target = Target(path_, {{"dryRun", DryRun(requester_)}}),
                     .content_type = "application/json",
                     .body = DeleteBody(options_),
                     // Without a UID there is nothing to find out: what bears the name now is to go.
                     .repeatable = options_.uid.empty(),
                     .deadline = deadline_,
                     .earlier = tries_++},
                    [self = shared_from_this()](ApiReply reply) { self->OnReply(std::move(reply)); });
  }

 private:
  void OnReply(ApiReply reply) {
    if (reply.body.ok()) return done_(Parsed(std::move(reply.body), what_));
    absl::Status status = std::move(reply.body).status();
    if (absl::IsNotFound(status)) return done_(Json());
    // Another object under the name, after an attempt of ours that may have arrived: the one that was meant is gone.
    if (absl::IsFailedPrecondition(status) && lost_) return done_(Json());
    if (!reply.maybe_done) return done_(std::move(status));
    if (options_.uid.empty()) return done_(WithUnknownOutcome(status));
    lost_ = true;
    LookUp(requester_, path_, deadline_,
           [self = shared_from_this(), status](const absl::StatusOr<Json>& found) { self->OnFound(found, status); });
  }

  void OnFound(absl::StatusOr<Json> found, const absl::Status& status) {
    if (absl::IsNotFound(found.status())) return done_(Json());
    if (!found.ok()) return done_(WithUnknownOutcome(status));
    if (TextAt(*found, {"metadata", "uid"}) != options_.uid) return done_(Json());
    if (BeingDeletedAsAsked(*found)) return done_(std::move(found));
    if (requester_.Now() >= deadline_) return done_(WithUnknownOutcome(status));
    Put();
  }

  bool BeingDeletedAsAsked(const Json& object) const {
    if (TextAt(object, {"metadata", "deletionTimestamp"}).empty()) return false;
    return !options_.grace_seconds.has_value() ||
           NumberAt(object, {"metadata", "deletionGracePeriodSeconds"}) <= *options_.grace_seconds;
  }

  Requester& requester_;
  const std::string path_;
  const DeleteOptions options_;
  const std::string what_;
  const ApiClient::Done done_;
  const absl::Duration deadline_;
  bool lost_ = false;
  int tries_ = 0;
};

}  // namespace

std::string DryRun(const Requester& requester) {
  return requester.options().dry_run ? "All" : "";
}

std::string DeleteBody(const DeleteOptions& options) {
  Json body = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}};
  if (!options.propagation.empty()) body["propagationPolicy"] = options.propagation;
  if (options.grace_seconds.has_value()) body["gracePeriodSeconds"] = *options.grace_seconds;
  if (!options.uid.empty()) body["preconditions"] = {{"uid", options.uid}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void SureCreate(Requester& requester, absl::string_view collection, const Json& object, std::string body,
                ApiClient::Done done) {
  std::make_shared<Creation>(requester, collection, object, std::move(body), std::move(done))->Put();
}

void SureDelete(Requester& requester, absl::string_view path, DeleteOptions options, ApiClient::Done done) {
  std::make_shared<Deletion>(requester, path, std::move(options), std::move(done))->Put();
}

}  // namespace mayfly::kube
