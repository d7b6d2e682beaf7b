// What images stand for, looked up before a pod is made of them, and kept for the environment's life.
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/engine/kubernetes/pod_cause.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// Beside the journal's entries, with an ending that is none of theirs.
std::string PinsName(const std::string& scope) {
  return absl::StrCat(scope, ".images");
}

}  // namespace

absl::Status KubernetesEngineImpl::OpenRegistries() {
  MAYFLY_RETURN_IF_ERROR(Annotate(credentials_.Load(), "--registry-config"));
  registry::RegistryClientOptions registries;
  for (const std::string& name : options_.registry_insecure) {
    const auto reference = registry::ParseReference(absl::StrCat(name, "/x"));
    if (!reference.ok() || reference->registry != absl::AsciiStrToLower(name)) {
      return absl::InvalidArgumentError(absl::StrCat("--registry-insecure: '", EscapeLine(name), "' is no HOST:PORT"));
    }
    registries.insecure.insert(reference->registry);
  }
  registries_ = std::make_unique<registry::RegistryClient>(std::move(registries), &credentials_);
  return absl::OkStatus();
}

ImageBook& KubernetesEngineImpl::BookOf(const std::string& scope) {
  std::unique_ptr<ImageBook>& book = books_[scope];
  if (book != nullptr) return *book;
  std::map<std::string, std::string> known;
  const absl::StatusOr<std::string> kept = journal_.Value(PinsName(scope), "{}");
  const json pins = kept.ok() ? json::parse(*kept, nullptr, /*allow_exceptions=*/false) : json();
  for (const auto& [name, digest] : pins.items()) {
    if (digest.is_string()) known[name] = digest.get<std::string>();
  }
  if (const auto found = scopes_.find(scope); found != scopes_.end()) {
    const auto& given = found->second->spec().images;
    known.insert(given.begin(), given.end());
  }
  ImageBook::Source source;
  source.prefix = options_.registry;
  source.resolve = [this](const registry::Reference& reference, bool with_config, registry::RegistryClient::Done done) {
    registries_->Resolve(reference, with_config, [this, done = std::move(done)](absl::StatusOr<registry::Image> image) {
      io_.Post([done, image = std::move(image)] { done(image); });
    });
  };
  book = std::make_unique<ImageBook>(
      std::move(source), std::move(known), [this, scope](const std::map<std::string, std::string>& digests) {
        const std::string text = json(digests).dump(-1, ' ', false, json::error_handler_t::replace);
        const absl::Status kept = journal_.SetValue(PinsName(scope), text);
        if (!kept.ok()) LogWarning(kept.message());
      });
  return *book;
}

void KubernetesEngineImpl::ExpectImages(const KubeScope& scope) {
  std::vector<std::string> names;
  for (const auto& [name, digest] : scope.spec().images) names.push_back(name);
  BookOf(scope.spec().id).Expect(names);
}

void KubernetesEngineImpl::ForgetImages(const std::string& scope) {
  books_.erase(scope);
  unlink(absl::StrCat(options_.state_dir, "/kubernetes/", PinsName(scope)).c_str());
}

void KubernetesEngineImpl::PrepareResolved(const NodeRef& ref, const ProcessSpec& process) {
  pending_[{ref.scope, ref.node}] = {ref.attempt};
  BookOf(ref.scope).Resolve(process, [this, ref, process](const ResolvedProcess& resolved) {
    const absl::StatusOr<KubeScope*> scope = FindScope(ref.scope);
    if (!scope.ok() || !resolved.refused.empty()) return OnResolved(ref, process, resolved);
    (*scope)->ProvidePulls(resolved.registries, [this, ref, process, resolved](const absl::Status& status) {
      ResolvedProcess out = resolved;
      if (!status.ok()) out.refused = CauseOfRefusal(status);
      OnResolved(ref, process, out);
    });
  });
}

KubernetesEngineImpl::Pending* KubernetesEngineImpl::FindPending(const NodeRef& ref) {
  const auto found = pending_.find({ref.scope, ref.node});
  return found == pending_.end() || found->second.attempt != ref.attempt ? nullptr : &found->second;
}

void KubernetesEngineImpl::OnResolved(const NodeRef& ref, const ProcessSpec& named, const ResolvedProcess& resolved) {
  const Pending* const waiting = FindPending(ref);
  if (waiting == nullptr) return;
  const Pending pending = *waiting;
  pending_.erase({ref.scope, ref.node});
  const absl::StatusOr<KubeScope*> scope = FindScope(ref.scope);
  if (!scope.ok()) return;
  EngineEvent event;
  event.node = ref;
  event.when = reactor().Now();
  event.message = resolved.note;
  event.cause = resolved.refused;
  event.kind = resolved.refused.empty() ? EngineEvent::Kind::kImages : EngineEvent::Kind::kStartFailed;
  if (!resolved.refused.empty()) event.cause.node = ref.node;
  event.images = BookOf(ref.scope).DigestsOf(named);
  Emit(event);
  if (!resolved.refused.empty()) return;
  (*scope)->Prepare(ref, resolved.process);
  KubeNode* const node = (*scope)->FindNode(ref.node);
  if (pending.started && node != nullptr) node->Start(pending.one_shot);
}

bool KubernetesEngineImpl::StopPending(const NodeRef& ref) {
  const auto found = pending_.find({ref.scope, ref.node});
  if (found == pending_.end()) return false;
  EngineEvent event;
  event.kind = EngineEvent::Kind::kExited;
  event.node = {ref.scope, ref.node, found->second.attempt};
  event.when = reactor().Now();
  event.stopped = true;
  pending_.erase(found);
  Emit(event);
  return true;
}

}  // namespace mayfly::kubernetes
