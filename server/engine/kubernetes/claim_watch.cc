#include "server/engine/kubernetes/claim_watch.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/claims.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// Longer than it takes a provisioner that does its work, as a rule.
constexpr absl::Duration kUsualProvisioning = absl::Seconds(2);

}  // namespace

ClaimWatch::ClaimWatch(PodHost* host, std::set<std::string> claims, OnTrouble on_trouble)
    : host_(host),
      claims_(std::move(claims)),
      on_trouble_(std::move(on_trouble)),
      self_(std::make_shared<ClaimWatch*>(this)) {
  begin_ = host_->reactor().AddTimer(kUsualProvisioning, [this] { Begin(); });
}

ClaimWatch::~ClaimWatch() {
  host_->reactor().CancelTimer(begin_);
}

void ClaimWatch::Begin() {
  begin_ = 0;
  const auto here = host_->Here([weak = std::weak_ptr<ClaimWatch*>(self_)](const absl::StatusOr<json>& event) {
    if (const auto self = weak.lock(); self != nullptr && event.ok()) (*self)->OnEvent(*event);
  });
  kube::WatchOptions options;
  options.collection = absl::StrCat(NamespacePath(host_->place().space()), "/events");
  options.field_selector = "involvedObject.kind=PersistentVolumeClaim";
  watch_ = std::make_unique<kube::Watch>(host_->api(), options,
                                         kube::WatchCallbacks{[here](const std::vector<json>& all) {
                                                                for (const json& event : all) here(event);
                                                              },
                                                              [here](kube::WatchEvent kind, json event) {
                                                                if (kind != kube::WatchEvent::kDeleted)
                                                                  here(std::move(event));
                                                              },
                                                              [](const absl::Status& trouble) {
                                                                LogWarning("why volumes are not there is not seen",
                                                                           {{"error", trouble}});
                                                              }});
}

void ClaimWatch::OnEvent(const json& event) {
  const PodVerdict verdict = JudgeClaimEvent(event);
  if (verdict.kind == PodVerdict::Kind::kFine) return;
  const json& about = event.at("involvedObject");
  if (claims_.count(about.value("name", "")) == 0) return;
  const OnTrouble tell = on_trouble_;
  tell(verdict);
}

}  // namespace mayfly::kubernetes
