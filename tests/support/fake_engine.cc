#include "tests/support/fake_engine.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

using Kind = EngineEvent::Kind;
using Stage = FakeWorld::Node::Stage;

bool SameScope(const ScopeSpec& a, const ScopeSpec& b) {
  return a.environment == b.environment && a.owner == b.owner && a.log_dir == b.log_dir &&
         a.source_root == b.source_root;
}

absl::Status NoNode(const NodeRef& ref) {
  return absl::NotFoundError(absl::StrCat("no node '", ref.node, "' in scope '", ref.scope, "'"));
}

}  // namespace

FakeEngine::FakeEngine(FakeWorld* world, EngineEventSink* sink) : world_(world), sink_(sink) {
  world_->sink_ = sink;
}

FakeEngine::~FakeEngine() {
  if (world_->sink_ == sink_) world_->sink_ = nullptr;
}

Capabilities FakeEngine::Describe() {
  Capabilities out;
  out.engine = "fake";
  out.usable = usable;
  out.users = out.memory_limits = out.process_limits = out.cpu_limits = out.disk_limits = true;
  out.start_slots = start_slots;
  out.images = out.needs_images = needs_images;
  out.checks.push_back({"fake world", usable ? CapabilityCheck::Result::kOk : CapabilityCheck::Result::kMissing,
                        usable ? "turns" : "stands still", usable ? "" : "turn it"});
  return out;
}

absl::StatusOr<std::vector<FoundScope>> FakeEngine::Recover() {
  if (absl::Status status = world_->Check("Recover", ""); !status.ok()) return status;
  std::vector<FoundScope> found;
  for (auto& [id, scope] : world_->scopes_) {
    FoundScope& out = found.emplace_back();
    out.id = id;
    out.environment = scope.spec.environment;
    for (const auto& [name, node] : scope.nodes) {
      FoundScope::Node& n = out.nodes.emplace_back();
      n.node = name;
      n.attempt = node.ref.attempt;
      n.running = node.stage == Stage::kRunning || node.stage == Stage::kStarting;
      n.ready = node.ready;
      n.exited = node.stage == Stage::kEnded;
      n.exit_code = node.last.exit_code;
      n.signal = node.last.signal;
      for (const auto& [port, address] : node.exposed) out.addresses[absl::StrCat(name, ":", port)] = address;
    }
    for (EngineEvent& event : std::exchange(scope.unheard, {})) sink_->OnEngineEvent(event);
  }
  return found;
}

absl::Status FakeEngine::CreateScope(const ScopeSpec& spec) {
  if (absl::Status status = world_->Check("CreateScope", spec.id); !status.ok()) return status;
  auto [it, created] = world_->scopes_.try_emplace(spec.id);
  FakeWorld::Scope& scope = it->second;
  if (!created && (scope.destroyed || !SameScope(scope.spec, spec))) {
    return absl::AlreadyExistsError(absl::StrCat("scope '", spec.id, "' exists with other contents"));
  }
  if (created) {
    scope.spec = spec;
    world_->Record(FakeHistory::Kind::kScopeCreated, {spec.id, ""});
  }
  if (!scope.ready && !world_->scope_waits.empty()) {
    world_->loop_->PostAfter(absl::ZeroDuration(), [world = world_, id = spec.id] {
      EngineEvent event;
      event.node.scope = id;
      event.kind = Kind::kProbe;
      event.message = world->scope_waits;
      world->Emit(event);
    });
  }
  world_->loop_->PostAfter(scope.ready ? absl::ZeroDuration() : world_->scope_takes, [world = world_, id = spec.id] {
    const auto found = world->scopes_.find(id);
    if (found == world->scopes_.end() || found->second.destroyed) return;
    EngineEvent event;
    event.node.scope = id;
    event.kind = world->scope_failure.empty() ? Kind::kScopeReady : Kind::kScopeFailed;
    event.cause = world->scope_failure;
    found->second.ready = world->scope_failure.empty();
    world->Emit(event);
  });
  return absl::OkStatus();
}

// As it was given with the scope, or as the registry has it the first time.
std::string FakeEngine::DigestFor(FakeWorld::Scope& scope, const std::string& image) {
  std::string& used = scope.images[image];
  const auto given = scope.spec.images.find(image);
  if (used.empty() && given != scope.spec.images.end()) used = given->second;
  const auto now = world_->registry.find(image);
  if (used.empty() && now != world_->registry.end()) used = now->second;
  return used;
}

absl::Status FakeEngine::Prepare(const NodeRef& ref, const ProcessSpec& process) {
  if (absl::Status status = world_->Check("Prepare", ref.node); !status.ok()) return status;
  const auto scope = world_->scopes_.find(ref.scope);
  if (scope == world_->scopes_.end() || scope->second.destroyed) return NoNode(ref);
  if (!scope->second.ready) return absl::FailedPreconditionError("the scope is not ready");
  if (process.argv.empty()) return absl::InvalidArgumentError("nothing to run: argv is empty");
  FakeWorld::Node& node = scope->second.nodes[ref.node];
  const bool is_new = node.ref.node.empty();
  if (!is_new && node.ref.attempt == ref.attempt) {
    if (node.stage != Stage::kPreparing) world_->Emit(node.last);
    return absl::OkStatus();
  }
  if (!is_new && (node.stage != Stage::kEnded || ref.attempt < node.ref.attempt)) {
    return absl::FailedPreconditionError(
        absl::StrCat("attempt ", node.ref.attempt, " of '", ref.node, "' has not ended"));
  }
  std::map<int, std::string> exposed = std::move(node.exposed);
  node = FakeWorld::Node();
  node.exposed = std::move(exposed);
  node.ref = ref;
  node.process = process;
  node.run = world_->script ? world_->script(ref, process, false) : RunOfArgv(process, false);
  if (const std::string digest = DigestFor(scope->second, process.image); !digest.empty()) {
    world_->Later(node, absl::ZeroDuration(), [world = world_, digest](FakeWorld::Node& n) {
      EngineEvent event;
      event.kind = Kind::kImages;
      event.node = n.ref;
      event.images = {{n.process.image, digest}};
      event.message = "it is " + digest;
      world->Emit(std::move(event));
    });
  }
  world_->Later(node, node.run.prepare, [world = world_](FakeWorld::Node& n) {
    n.stage = Stage::kPrepared;
    world->Record(FakeHistory::Kind::kPrepared, n.ref);
    world->Tell(n, Kind::kPrepared);
  });
  return absl::OkStatus();
}

absl::Status FakeEngine::Start(const NodeRef& ref, bool one_shot) {
  if (absl::Status status = world_->Check("Start", ref.node); !status.ok()) return status;
  FakeWorld::Node* node = world_->Find(ref);
  if (node == nullptr) return NoNode(ref);
  if (node->ref.attempt != ref.attempt || node->stage == Stage::kPreparing) {
    return absl::FailedPreconditionError(absl::StrCat("attempt ", ref.attempt, " of '", ref.node, "' is not prepared"));
  }
  if (node->stage != Stage::kPrepared) {
    if (node->stage != Stage::kStarting) world_->Emit(node->last);
    return absl::OkStatus();
  }
  node->one_shot = one_shot;
  world_->Record(FakeHistory::Kind::kLaunched, ref);
  node->run = world_->script ? world_->script(ref, node->process, one_shot) : RunOfArgv(node->process, one_shot);
  world_->Launch(*node);
  return absl::OkStatus();
}

absl::Status FakeEngine::Stop(const NodeRef& ref) {
  if (absl::Status status = world_->Check("Stop", ref.node); !status.ok()) return status;
  FakeWorld::Node* node = world_->Find(ref);
  if (node == nullptr) return NoNode(ref);
  if (node->ref.attempt != ref.attempt) return absl::FailedPreconditionError("another attempt is current");
  if (node->stage == Stage::kEnded) {
    world_->Emit(node->last);
    return absl::OkStatus();
  }
  if (std::exchange(node->stopping, true)) return absl::OkStatus();
  world_->Record(FakeHistory::Kind::kStopping, ref);
  const bool ran = node->stage == Stage::kRunning;
  const bool killed = ran && node->run.ignores_term;
  const absl::Duration takes = !ran     ? absl::ZeroDuration()
                               : killed ? node->process.stop.grace
                                        : std::min(node->run.stop, node->process.stop.grace);
  world_->Later(*node, takes,
                [world = world_, killed](FakeWorld::Node& n) { world->End(n, 0, killed ? SIGKILL : 0, true); });
  return absl::OkStatus();
}

absl::Status FakeEngine::Expose(const NodeRef& ref, int port, int host_port) {
  if (absl::Status status = world_->Check("Expose", ref.node); !status.ok()) return status;
  FakeWorld::Node* node = world_->Find(ref);
  if (node == nullptr) return NoNode(ref);
  std::string& address = node->exposed[port];
  if (address.empty()) {
    address = absl::StrCat("127.0.0.1:", host_port != 0 ? host_port : world_->next_port_++);
    world_->Record(FakeHistory::Kind::kExposed, ref);
  }
  EngineEvent event;
  event.kind = Kind::kExposed;
  event.node = ref;
  event.port = port;
  event.address = address;
  world_->loop_->Post([world = world_, event] { world->Emit(event); });
  return absl::OkStatus();
}

absl::Status FakeEngine::Destroy(const std::string& id) {
  if (absl::Status status = world_->Check("Destroy", id); !status.ok()) return status;
  if (world_->lost_destroys > 0) {
    --world_->lost_destroys;
    return absl::OkStatus();
  }
  const auto scope = world_->scopes_.find(id);
  if (scope == world_->scopes_.end()) {
    world_->loop_->Post([world = world_, id] { world->Release(id, false); });
    return absl::OkStatus();
  }
  scope->second.destroyed = true;
  for (auto& [name, node] : scope->second.nodes) {
    const bool ran = node.stage == Stage::kRunning;
    scope->second.receipt.processes += ran;
    scope->second.receipt.mounts += 1;
    if (node.stage != Stage::kEnded) world_->End(node, 0, ran ? SIGKILL : 0, true);
  }
  scope->second.receipt.took = world_->destroy_takes;
  const bool blocked = world_->blocked_destroys > 0;
  if (blocked) --world_->blocked_destroys;
  world_->loop_->PostAfter(world_->destroy_takes, [world = world_, id, blocked] { world->Release(id, blocked); });
  return absl::OkStatus();
}

absl::StatusOr<LogSource::Chunk> FakeEngine::ReadLog(const std::string& log_dir, const std::string& node,
                                                     int64_t offset, int64_t max_bytes) {
  const auto log = world_->logs_.find({log_dir, node});
  if (log == world_->logs_.end()) return absl::NotFoundError(absl::StrCat("no log of '", node, "'"));
  // An offset counts lines here; to the caller it is opaque.
  Chunk chunk;
  chunk.next_offset = offset;
  int64_t bytes = 0;
  while (chunk.next_offset < static_cast<int64_t>(log->second.size()) && bytes < max_bytes) {
    chunk.lines.push_back(log->second[chunk.next_offset++]);
    bytes += chunk.lines.back().text.size() + 1;
  }
  chunk.end = chunk.next_offset == static_cast<int64_t>(log->second.size());
  return chunk;
}

absl::StatusOr<FakeWorld::Node*> FakeEngine::RunningNode(const NodeRef& ref) {
  FakeWorld::Node* node = world_->Find(ref);
  if (node == nullptr) return NoNode(ref);
  if (node->stage != Stage::kRunning) return absl::FailedPreconditionError(absl::StrCat(ref.node, " does not run"));
  return node;
}

namespace {

class FakeStream final : public Stream {
 public:
  FakeStream(Loop* loop, Callbacks callbacks) : loop_(loop), state_(std::make_shared<State>()) {
    state_->callbacks = std::move(callbacks);
  }
  ~FakeStream() override { state_->open = false; }
  // Echoes, as `mayfly-workload tcp` does.
  void Write(std::string bytes) override {
    Then([bytes = std::move(bytes)](State& s) {
      s.callbacks.on_data(bytes, false);
      if (s.callbacks.on_written) s.callbacks.on_written(bytes.size());
    });
  }
  void Taken(size_t) override {}
  void CloseWrite() override { Close(0); }
  void Resize(int, int) override {}

  void Say(const LogLine& line) {
    Then([line](State& s) { s.callbacks.on_data(line.text + "\n", line.stderr_stream); });
  }
  void Close(int exit_code) {
    Then([exit_code](State& s) {
      s.open = false;
      s.callbacks.on_close(absl::OkStatus(), exit_code);
    });
  }

 private:
  struct State {
    Callbacks callbacks;
    bool open = true;
  };
  void Then(std::function<void(State&)> fn) {
    loop_->Post([state = state_, fn = std::move(fn)] {
      if (state->open) fn(*state);
    });
  }
  Loop* const loop_;
  std::shared_ptr<State> state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Stream>> FakeEngine::Exec(const ExecRequest& request, Stream::Callbacks callbacks) {
  absl::StatusOr<FakeWorld::Node*> node = RunningNode(request.node);
  if (!node.ok()) return node.status();
  ProcessSpec process = (*node)->process;
  process.argv = request.argv;
  const FakeRun run = RunOfArgv(process, true);
  if (!run.start_failure.empty()) return absl::InvalidArgumentError(run.start_failure.message);
  auto stream = std::make_unique<FakeStream>(world_->loop_, std::move(callbacks));
  for (const auto& [at, line] : run.lines) stream->Say(line);
  if (run.end != absl::InfiniteDuration()) stream->Close(run.signal != 0 ? 128 + run.signal : run.exit_code);
  return stream;
}

absl::StatusOr<std::unique_ptr<Stream>> FakeEngine::Connect(const NodeRef& ref, int port, Stream::Callbacks callbacks) {
  absl::StatusOr<FakeWorld::Node*> node = RunningNode(ref);
  if (!node.ok()) return node.status();
  const auto open = (*node)->run.ports.find(port);
  auto stream = std::make_unique<FakeStream>(world_->loop_, std::move(callbacks));
  if (open == (*node)->run.ports.end() || (*node)->started + open->second > world_->loop_->Monotonic()) {
    return absl::UnavailableError(absl::StrCat(ref.node, " does not listen on port ", port));
  }
  return stream;
}

void FakeEngine::Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
                         std::function<void(absl::Status)> done) {
  absl::Status status;
  FakeWorld::Node* node = world_->Find(ref);
  if (node == nullptr) status = NoNode(ref);
  for (const std::string& path : paths) {
    if (!status.ok()) break;
    bool found = false;
    for (const auto& [name, content] : node->run.files) {
      if (name != path && name.rfind(path + "/", 0) != 0) continue;
      found = true;
      max_bytes -= content.size();
      if (max_bytes < 0) {
        status = absl::ResourceExhaustedError("too many bytes to keep");
        break;
      }
      const std::filesystem::path target = std::filesystem::path(destination) / name;
      std::filesystem::create_directories(target.parent_path());
      std::ofstream(target) << content;
    }
    if (!found && status.ok()) status = absl::NotFoundError(absl::StrCat("'", path, "' was not written"));
  }
  world_->loop_->Post([done = std::move(done), status] { done(status); });
}

}  // namespace mayfly
