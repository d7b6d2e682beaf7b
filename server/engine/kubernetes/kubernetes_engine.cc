#include "server/engine/kubernetes/kubernetes_engine.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/gate_program.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// The address of this machine from which the API server is reached: where pods most likely reach us, too.
absl::StatusOr<std::string> AddressTowards(absl::string_view url) {
  const std::vector<std::string> parts = absl::StrSplit(url, absl::MaxSplits("://", 1));
  const std::string authority = std::string(absl::string_view(parts.back()).substr(0, parts.back().find('/')));
  const size_t colon = authority.rfind(':');
  const std::string host = authority.substr(0, colon);
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  if (const int error = getaddrinfo(host.c_str(), "443", &hints, &found); error != 0) {
    return absl::UnavailableError(absl::StrCat("the API server's host ", EscapeLine(host), ": ", gai_strerror(error)));
  }
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  socklen_t size = sizeof own;
  const bool ok = connect(fd.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0;
  freeaddrinfo(found);
  if (!ok) return ErrnoStatus(errno, absl::StrCat("the way to ", EscapeLine(host)));
  char text[INET_ADDRSTRLEN];
  return std::string(inet_ntop(AF_INET, &own.sin_addr, text, sizeof text));
}

}  // namespace

absl::StatusOr<std::unique_ptr<KubernetesEngine>> KubernetesEngine::Create(KubernetesEngineOptions options,
                                                                           EngineEventSink* sink) {
  MAYFLY_RETURN_IF_ERROR(CheckIngress(options.ingress));
  MAYFLY_ASSIGN_OR_RETURN(Journal journal, Journal::Open(absl::StrCat(options.state_dir, "/kubernetes")));
  auto engine = std::make_unique<KubernetesEngineImpl>(std::move(options), std::move(journal), sink);
  MAYFLY_RETURN_IF_ERROR(engine->Begin());
  return engine;
}

KubernetesEngineImpl::KubernetesEngineImpl(KubernetesEngineOptions options, Journal journal, EngineEventSink* sink)
    : options_(std::move(options)),
      sink_(sink),
      journal_(std::move(journal)),
      credentials_(options_.registry_config, [](absl::string_view line) { LogWarning(line); }) {}

absl::StatusOr<std::string> KubernetesEngineImpl::GateListen() {
  if (options_.gate_relay) {
    // Gates of environments that were made without a relay go on calling.
    MAYFLY_ASSIGN_OR_RETURN(const std::vector<JournalEntry> entries, journal_.Read(nullptr));
    const bool called = std::any_of(entries.begin(), entries.end(),
                                    [](const JournalEntry& entry) { return entry.gate_address.empty(); });
    return called ? journal_.Value("gate-address", "127.0.0.1:0") : "127.0.0.1:0";
  }
  std::string listen = options_.gate_listen;
  if (listen.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(const std::string address, AddressTowards(options_.endpoint.server));
    listen = absl::StrCat(address, ":0");
  }
  if (!absl::EndsWith(listen, ":0")) return listen;
  // Gates call the address that their pod was made with, so a later server must be found there.
  MAYFLY_ASSIGN_OR_RETURN(const std::string known, journal_.Value("gate-address", listen));
  return absl::StartsWith(known, listen.substr(0, listen.size() - 1)) ? known : listen;
}

absl::Status KubernetesEngineImpl::Begin() {
  MAYFLY_RETURN_IF_ERROR(OpenRegistries());
  MAYFLY_ASSIGN_OR_RETURN(secret_, journal_.Value("secret", absl::StrCat(NewUuid(), NewUuid())));
  MAYFLY_ASSIGN_OR_RETURN(const std::string listen, GateListen());
  kube::ApiClientOptions client;
  client.identity_annotation = kIdentity;
  api_ = std::make_unique<kube::ApiClient>(options_.endpoint, client);
  absl::Status begun;
  io_.Run([&] {
    auto hub = GateHub::Create(
        *io_.reactor(), listen, secret_,
        [this](const GateHello& hello, std::unique_ptr<GateLink> link) { OnGate(hello, std::move(link)); });
    if (!hub.ok()) {
      begun = Annotate(hub.status(), "the port that pods call");
      return;
    }
    hub_ = *std::move(hub);
  });
  MAYFLY_RETURN_IF_ERROR(begun);
  if (!options_.gate_relay) MAYFLY_RETURN_IF_ERROR(journal_.SetValue("gate-address", hub_->address()));
  // One answer before anything is promised: it finds wrong credentials and addresses.
  if (!options_.ingress.domain.empty()) asker_ = std::make_unique<http::Client>();
  MAYFLY_RETURN_IF_ERROR(CheckProfile());
  if (gives_namespaces()) {
    MAYFLY_RETURN_IF_ERROR(TakeGiven());
    return StartDialer();
  }
  MAYFLY_RETURN_IF_ERROR(Annotate(ListAndWait("/api/v1/namespaces").status(), "the Kubernetes API server"));
  MAYFLY_RETURN_IF_ERROR(StartDialer());
  StartWatches();
  return absl::OkStatus();
}

KubernetesEngineImpl::~KubernetesEngineImpl() {
  pod_watch_.reset();
  namespace_watch_.reset();
  event_watch_.reset();
  ingress_watch_.reset();
  std::vector<OwnedNamespace> unused;
  io_.Run([&] {
    for (const OwnedNamespace& one : owned_) {
      if (pool_.HolderOf(one.name).empty()) unused.push_back(one);
    }
    relays_.clear();
    scopes_.clear();
    outside_.reset();
    hub_.reset();
  });
  // What they call back is posted to the thread that ends with this.
  sockets_.reset();
  asker_.reset();
  if (api_ != nullptr && !unused.empty()) LetGoNamespaces(*api_, unused);
  // Their last answers find nobody.
  registries_.reset();
  api_.reset();
}

Capabilities KubernetesEngineImpl::Describe() {
  Capabilities out;
  out.engine = "kubernetes";
  out.usable = true;
  out.images = out.users = out.memory_limits = out.cpu_limits = out.disk_limits = true;
  out.needs_images = out.volumes = out.sidecars = out.replicas = true;
  // All pods at once, and the engine itself says what they wait for and when that is over.
  out.prepare_window = 1000;
  out.prepare_limit = absl::Minutes(10);
  {
    // Until then the server plans with what this says, and Begin has just had an answer.
    MutexLock lock(mutex_);
    if (!recovered_) return out;
  }
  DescribeNow(&out);
  if (hub_ != nullptr)
    out.checks.push_back({"gates call", CapabilityCheck::Result::kOk,
                          options_.gate_relay ? "a relay in each environment" : hub_->address(), ""});
  return out;
}

absl::Status KubernetesEngineImpl::OnThread(const std::function<absl::Status()>& fn) {
  absl::Status status;
  io_.Run([&] { status = fn(); });
  return status;
}

absl::StatusOr<KubeScope*> KubernetesEngineImpl::FindScope(const std::string& id) {
  const auto it = scopes_.find(id);
  if (it == scopes_.end() || it->second->ended()) return absl::NotFoundError(absl::StrCat("no scope ", id));
  return it->second.get();
}

absl::StatusOr<KubeNode*> KubernetesEngineImpl::FindNode(const NodeRef& ref, KubeScope** scope) {
  MAYFLY_ASSIGN_OR_RETURN(KubeScope* const found, FindScope(ref.scope));
  KubeNode* const node = found->FindNode(ref.node);
  if (node == nullptr) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
  if (scope != nullptr) *scope = found;
  return node;
}

absl::StatusOr<PodNode*> KubernetesEngineImpl::FindRunning(const NodeRef& ref) {
  MAYFLY_ASSIGN_OR_RETURN(KubeNode* const found, FindNode(ref));
  PodNode* const node = found->Runs() ? found->Target() : nullptr;
  if (node == nullptr) return absl::FailedPreconditionError(absl::StrCat(ref.node, " does not run"));
  return node;
}

absl::Status KubernetesEngineImpl::CreateScope(const ScopeSpec& spec) {
  if (spec.id.empty() || spec.id.size() > 63 ||
      spec.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos) {
    return absl::InvalidArgumentError("bad scope id");
  }
  return OnThread([&]() -> absl::Status {
    if (const auto it = scopes_.find(spec.id); it != scopes_.end()) {
      KubeScope& known = *it->second;
      if (known.ended()) return absl::FailedPreconditionError(absl::StrCat("scope ", spec.id, " is being destroyed"));
      if (known.spec().owner != spec.owner || known.spec().environment != spec.environment) {
        return absl::AlreadyExistsError(absl::StrCat("scope ", spec.id, " exists"));
      }
      known.Retell(spec);
      ExpectImages(known);
      known.RepeatReady();
      return absl::OkStatus();
    }
    JournalEntry entry;
    entry.spec = spec;
    entry.identity = NewUuid();
    auto scope = std::make_unique<KubeScope>(this, std::move(entry));
    KubeScope* const made = scope.get();
    scopes_[spec.id] = std::move(scope);
    ExpectImages(*made);
    made->Make();
    return absl::OkStatus();
  });
}

absl::Status KubernetesEngineImpl::Prepare(const NodeRef& ref, const ProcessSpec& process) {
  // An image's own command is found out in time.
  ProcessSpec with_command = process;
  if (with_command.argv.empty()) with_command.argv = {""};
  for (Sidecar& sidecar : with_command.sidecars) {
    if (sidecar.argv.empty()) sidecar.argv = {""};
  }
  MAYFLY_RETURN_IF_ERROR(CheckProcess(with_command));
  if (options_.gate_relay && (ref.node == kRelayNode || ref.node == kRelayName)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", ref.node, "' is the name of what --gate-relay makes in each environment: take another one"));
  }
  return OnThread([&]() -> absl::Status {
    MAYFLY_ASSIGN_OR_RETURN(KubeScope* const scope, FindScope(ref.scope));
    if (KubeNode* const node = scope->FindNode(ref.node); node != nullptr) {
      if (ref.attempt < node->attempt()) return absl::FailedPreconditionError("an attempt that has passed");
      if (ref.attempt > node->attempt() && node->Live()) {
        return absl::FailedPreconditionError(absl::StrCat(ref.node, " still runs attempt ", node->attempt()));
      }
    }
    if (const auto pending = pending_.find({ref.scope, ref.node}); pending != pending_.end()) {
      if (pending->second.attempt == ref.attempt) return absl::OkStatus();
      if (pending->second.attempt > ref.attempt) return absl::FailedPreconditionError("an attempt that has passed");
    }
    scope->AddNode(ref.node, process.replicas > 1);
    PrepareResolved(ref, process);
    return absl::OkStatus();
  });
}

absl::Status KubernetesEngineImpl::Start(const NodeRef& ref, bool one_shot) {
  return OnThread([&]() -> absl::Status {
    MAYFLY_ASSIGN_OR_RETURN(KubeNode* const node, FindNode(ref));
    const auto pending = pending_.find({ref.scope, ref.node});
    if (pending != pending_.end() && pending->second.attempt == ref.attempt) {
      pending->second.started = true;
      pending->second.one_shot = one_shot;
      return absl::OkStatus();
    }
    if (node->attempt() != ref.attempt) {
      return absl::FailedPreconditionError(absl::StrCat(ref.node, " is not prepared for attempt ", ref.attempt));
    }
    node->Start(one_shot);
    return absl::OkStatus();
  });
}

absl::Status KubernetesEngineImpl::Stop(const NodeRef& ref) {
  return OnThread([&]() -> absl::Status {
    MAYFLY_ASSIGN_OR_RETURN(KubeNode* const node, FindNode(ref));
    if (!StopPending(ref)) node->Stop();
    return absl::OkStatus();
  });
}

absl::Status KubernetesEngineImpl::Expose(const NodeRef& ref, int port, int host_port) {
  return OnThread([&]() -> absl::Status {
    KubeScope* scope = nullptr;
    MAYFLY_RETURN_IF_ERROR(FindNode(ref, &scope).status());
    return scope->Expose(ref, port, host_port);
  });
}

absl::Status KubernetesEngineImpl::Destroy(const std::string& id) {
  if (id.empty()) return absl::InvalidArgumentError("bad scope id");
  return OnThread([&]() -> absl::Status {
    if (const auto it = scopes_.find(id); it != scopes_.end()) {
      it->second->Destroy();
      return absl::OkStatus();
    }
    // Nothing of that name was ever made by us, or it is gone: the journal would know.
    for (const auto kind : {EngineEvent::Kind::kScopeReleased, EngineEvent::Kind::kScopeGone}) {
      EngineEvent event;
      event.kind = kind;
      event.node.scope = id;
      event.when = reactor().Now();
      Emit(event);
    }
    return absl::OkStatus();
  });
}

PodOptions KubernetesEngineImpl::MakePodOptions(const std::string& scope, const std::string& pod) const {
  return {hub_->address(), GateToken(secret_, scope, pod), options_.registry, {}, ""};
}

const std::string& KubernetesEngineImpl::gate_program() const {
  return GateProgram();
}

}  // namespace mayfly::kubernetes
