#include "server/engine/kubernetes/pull_secret.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using shape::Fields;
using shape::Refuse;

// What its name begins with, and no other Secret's.
constexpr char kPullPrefix[] = "mayfly-pull-";
constexpr char kPullType[] = "kubernetes.io/dockerconfigjson";
constexpr char kPullKey[] = ".dockerconfigjson";

bool NamedForPulls(const json& name) {
  return name.is_string() && absl::StartsWith(name.get_ref<const std::string&>(), kPullPrefix);
}

}  // namespace

Creation PullSecretObject(const Place& place, const std::map<std::string, registry::Credentials>& by_registry,
                          const std::string& salt) {
  const std::string content = registry::DockerConfigFor(by_registry);
  const std::string mark = Sha256Hex(absl::StrCat(salt, "\n", content)).substr(0, 10);
  json object = Object(place, "v1", "Secret", absl::StrCat(kPullPrefix, mark));
  object["type"] = kPullType;
  object["data"] = {{kPullKey, absl::Base64Escape(content)}};
  object["immutable"] = true;
  return {Collection(place, "secrets"), object};
}

absl::Status CheckSecretKind(const json& object) {
  const bool pulls = object.value("type", "") == kPullType;
  if (pulls != NamedForPulls(object["metadata"]["name"])) return Refuse("type", "does not go with the name");
  if (!pulls) return absl::OkStatus();
  if (object.contains("stringData")) return Refuse("stringData", "mayfly never sets this");
  const auto data = object.find("data");
  if (data == object.end()) return Refuse("data", "is missing");
  MAYFLY_RETURN_IF_ERROR(Fields({{kPullKey, shape::Text(), true}})(*data, "data"));
  // Its value is not to be shown, so neither is where in it something is wrong.
  std::string text;
  const bool encoded = absl::Base64Unescape((*data)[kPullKey].get_ref<const std::string&>(), &text);
  const json config = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const shape::Shape registry = Fields({{"auth", shape::Text(), true}});
  const bool good = encoded && Fields({{"auths", shape::MapOf(registry), true}})(config, "").ok();
  return good ? absl::OkStatus() : Refuse("data", "must hold users of registries and nothing else");
}

shape::Shape PullSecretsOfPod() {
  const shape::Shape name = shape::Both(shape::Name(), [](const json& value, const std::string& at) {
    return NamedForPulls(value) ? absl::OkStatus() : Refuse(at, absl::StrCat("must begin with ", kPullPrefix));
  });
  const shape::Shape list = shape::ListOf(Fields({{"name", name, true}}), 1);
  return shape::Both(list, [](const json& value, const std::string& at) {
    return value.size() == 1 ? absl::OkStatus() : Refuse(at, "must be one");
  });
}

PullSecret::PullSecret(PodHost* host, Find find, std::string salt)
    : host_(host), find_(std::move(find)), salt_(std::move(salt)), self_(std::make_shared<PullSecret*>(this)) {}

void PullSecret::Provide(const std::set<std::string>& registries, const Done& done) {
  used_.insert(registries.begin(), registries.end());
  std::map<std::string, registry::Credentials> known;
  for (const std::string& registry : used_) {
    if (const auto credentials = find_(registry); credentials != nullptr) known[registry] = *credentials;
  }
  if (known.empty()) return done(absl::OkStatus());
  Creation secret = PullSecretObject(host_->place(), known, salt_);
  const std::string name = secret.object["metadata"]["name"].get<std::string>();
  if (name == name_) return done(absl::OkStatus());
  std::vector<Done>& waiting = waiting_[name];
  waiting.push_back(done);
  if (waiting.size() > 1) return;
  host_->Create(std::move(secret),
                [weak = std::weak_ptr<PullSecret*>(self_), name](const absl::StatusOr<json>& answer) {
                  // A former server may have made it: its name says that it is the same.
                  const bool made = answer.ok() || absl::IsAlreadyExists(answer.status());
                  if (const auto self = weak.lock()) (*self)->OnMade(name, made ? absl::OkStatus() : answer.status());
                });
}

void PullSecret::OnMade(const std::string& name, const absl::Status& status) {
  if (status.ok()) name_ = name;
  const std::vector<Done> waiting = std::move(waiting_[name]);
  waiting_.erase(name);
  for (const Done& done : waiting) done(status);
}

}  // namespace mayfly::kubernetes
