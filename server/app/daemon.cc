#include "server/app/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/version.h"
#include "server/api/server.h"
#include "server/api/source_gate.h"
#include "server/app/announce.h"
#include "server/app/engine_host.h"
#include "server/app/folder_guard.h"
#include "server/app/lifetime.h"
#include "server/app/provisioning.h"
#include "server/base/real_loop.h"
#include "server/base/unique_fd.h"
#include "server/obs/log.h"
#include "server/run/engine_event_queue.h"
#include "server/store/sqlite_store.h"
#include "server/store/state_lock.h"

namespace mayfly::app {
namespace {

constexpr int kFailed = 1;
constexpr int kStateTaken = 9;
constexpr absl::Duration kTakeDownLimit = absl::Seconds(30);

absl::StatusOr<std::string> PrepareStateDir(const Flags& flags) {
  std::string dir = flags.state_dir;
  if (dir.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(dir, DefaultStateDir());
  }
  MAYFLY_RETURN_IF_ERROR(MakePrivateDir(dir));
  // Absolute and without links, as the server changes its folder and as clients find the same socket by either name.
  char* const real = realpath(dir.c_str(), nullptr);
  if (real == nullptr) return ErrnoStatus(errno, absl::StrCat("state folder ", dir));
  dir = real;
  free(real);
  if (chmod(dir.c_str(), 0700) != 0) return ErrnoStatus(errno, absl::StrCat("chmod ", dir));
  return dir;
}

absl::Status SetUpLog(const Flags& flags) {
  LogOptions options;
  options.format = flags.log_format == "json" ? LogFormat::kJson : LogFormat::kLogfmt;
  options.level = flags.log_level == "debug"     ? LogLevel::kDebug
                  : flags.log_level == "warning" ? LogLevel::kWarning
                  : flags.log_level == "error"   ? LogLevel::kError
                                                 : LogLevel::kInfo;
  options.journal_prefix = getenv("JOURNAL_STREAM") != nullptr && flags.log_file.empty();
  if (!flags.log_file.empty()) {
    // Open as long as the process lives.
    options.fd = open(flags.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (options.fd < 0) return ErrnoStatus(errno, absl::StrCat("--log-file ", flags.log_file));
  }
  ConfigureLog(options);
  return absl::OkStatus();
}

std::string UserName() {
  const passwd* const entry = getpwuid(geteuid());
  return entry != nullptr ? entry->pw_name : absl::StrCat("uid-", geteuid());
}

absl::StatusOr<api::ServerOptions> ServerOptionsFor(const Flags& flags, const std::string& state_dir,
                                                    api::AccessPolicy::Options& access) {
  api::ServerOptions options;
  options.socket_path = SocketPath(state_dir);
  options.tls_cert = flags.tls_cert;
  options.tls_key = flags.tls_key;
  options.tls_client_ca = flags.tls_client_ca;
  options.reflection = flags.reflection;
  if (!flags.listen.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(options.listen, api::ParseTcpAddress(flags.listen));
  }
  if (!flags.token_file.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(access.token_digests, api::ReadTokenFile(flags.token_file));
  }
  for (const absl::string_view name : absl::StrSplit(flags.admins, ',', absl::SkipWhitespace())) {
    access.admins.insert(std::string(absl::StripAsciiWhitespace(name)));
  }
  options.has_tokens = !access.token_digests.empty();
  MAYFLY_RETURN_IF_ERROR(api::CheckListenSafety(options));
  // A long state folder has its socket elsewhere, where others may not be able to put one.
  const std::string socket_dir = options.socket_path.substr(0, options.socket_path.rfind('/'));
  MAYFLY_RETURN_IF_ERROR(MakePrivateDir(socket_dir));
  return options;
}

// All of a running server, in the order in which it is made; destroyed in the opposite one.
class Daemon {
 public:
  Daemon(const Flags& flags, std::string state_dir) : flags_(flags), state_dir_(std::move(state_dir)) {}

  ~Daemon() {
    if (api_ != nullptr) api_->Stop();
    const bool folder_gone = guard_ != nullptr && guard_->Gone();
    if (folder_gone && provisioner_ != nullptr) TakeDownAll();
    if (provisioner_ != nullptr) provisioner_->Shutdown();
    // What may still be posted refers to the provisioner; the engine goes before the lock of the state folder is let
    // go.
    if (loop_ != nullptr) loop_->Stop();
    if (worker_ != nullptr) worker_->Stop();
    api_.reset();
    provisioner_.reset();
    engine_host_.reset();
    // In another folder of that name it is another server's.
    if (announced_ && !folder_gone) RemoveServerFile(state_dir_);
  }

  // Everything until it serves. `taken`: another server holds the state folder.
  absl::Status Start(bool& taken) {
    MAYFLY_ASSIGN_OR_RETURN(api::ServerOptions options, ServerOptionsFor(flags_, state_dir_, access_));
    MAYFLY_ASSIGN_OR_RETURN(sources_, api::SourceGate::Open(flags_.sources));
    // Before the engine's launcher, which waits for the one of the server that holds the folder.
    auto lock = StateLock::Acquire(state_dir_);
    if (!lock.ok()) {
      taken = lock.status().code() == absl::StatusCode::kFailedPrecondition;
      return lock.status();
    }
    lock_ = *std::move(lock);
    // Before any thread: the local engine forks, which a process with threads must not do.
    MAYFLY_ASSIGN_OR_RETURN(engine_host_, MakeEngineHost({.engine = flags_.engine,
                                                          .state_dir = state_dir_,
                                                          .egress_to_host = flags_.egress_to_host,
                                                          .kubeconfig = flags_.kubeconfig,
                                                          .kube_context = flags_.kube_context,
                                                          .gate_listen = flags_.gate_listen,
                                                          .registry = flags_.registry,
                                                          .registry_config = flags_.registry_config,
                                                          .registry_insecure = flags_.registry_insecure,
                                                          .ingress_domain = flags_.ingress_domain,
                                                          .ingress_class = flags_.ingress_class,
                                                          .ingress_namespace = flags_.ingress_namespace,
                                                          .ingress_tls = flags_.ingress_tls,
                                                          .kube_namespaces = flags_.kube_namespaces,
                                                          .kube_namespace_wait = flags_.kube_namespace_wait,
                                                          .gate_relay = flags_.gate_relay}));
    // After it, as what runs in environments must not inherit the server's own mask, signals and limits.
    umask(0077);
    lifetime_ = std::make_unique<Lifetime>();
    const int descriptors = api::RaiseDescriptorLimit();
    options.max_connections = flags_.max_connections > 0 ? flags_.max_connections : api::ConnectionCap(descriptors);
    MAYFLY_RETURN_IF_ERROR(OpenStore());
    MAYFLY_ASSIGN_OR_RETURN(Engine* const engine,
                            engine_host_->Start(&engine_events_, state_dir_, store_->installation()));
    loop_ = std::make_unique<RealLoop>();
    worker_ = std::make_unique<RealLoop>();
    provisioner_ = MakeProvisioner({.state_dir = state_dir_,
                                    .loop = loop_.get(),
                                    .engine = engine,
                                    .engine_events = &engine_events_,
                                    .store = store_.get(),
                                    .collector = engine_host_->collector(),
                                    .logs = engine_host_->logs()});
    MAYFLY_RETURN_IF_ERROR(Annotate(provisioner_->Recover(), "recovery"));
    return Serve(engine, options);
  }

  std::string WaitForEnd() {
    Lifetime::Idle idle;
    idle.after = flags_.exit_when_idle;
    idle.now = [this] { return provisioner_->live() == 0 && api_->acceptor().open_connections() == 0; };
    idle.last_activity = [this] { return api_->acceptor().last_accept(); };
    lifetime_->EndWhen(guard_->fd(), [this] { return std::string(guard_->Gone() ? "its state folder is gone" : ""); });
    return lifetime_->Wait(idle);
  }

 private:
  // Nobody can reach them any more, and no later server would find them.
  void TakeDownAll() {
    LogError("the state folder was deleted or moved away: its environments are taken down and the server ends",
             {{"state_dir", state_dir_}, {"environments", provisioner_->live()}});
    if (const int left = provisioner_->TakeDownAll(kTakeDownLimit); left > 0) {
      LogError("environments could not be taken down in time", {{"environments", left}});
    }
  }

  absl::Status OpenStore() {
    MAYFLY_ASSIGN_OR_RETURN(store_, OpenSqliteStore(state_dir_, {.sync_full = flags_.sync_full}, std::move(lock_)));
    MAYFLY_ASSIGN_OR_RETURN(guard_, FolderGuard::Watch(state_dir_));
    const absl::StatusOr<std::vector<std::string>> quarantined = store_->Quarantined();
    if (quarantined.ok()) {
      for (const std::string& record : *quarantined) LogWarning("record set aside", {{"record", record}});
    }
    return absl::OkStatus();
  }

  absl::Status Serve(Engine* engine, const api::ServerOptions& options) {
    api::ServiceContext context;
    context.provisioner = provisioner_.get();
    context.engine = engine;
    context.logs = engine_host_->logs();
    context.execer = engine_host_->execer();
    context.connector = engine_host_->connector();
    context.sources = sources_;
    context.worker = worker_.get();
    context.state_dir = state_dir_;
    context.installation = store_->installation();
    context.start_time = absl::Now();
    context.stop = [this] { lifetime_->Stop(); };
    access_.local_name = UserName();
    MAYFLY_ASSIGN_OR_RETURN(api_, api::ApiServer::Start(options, context, api::AccessPolicy(access_)));
    announced_ = true;
    MAYFLY_RETURN_IF_ERROR(WriteServerFile(state_dir_, options.socket_path, context.start_time, flags_.engine));
    LogInfo("serving", {{"version", Version()},
                        {"commit", Commit()},
                        {"pid", getpid()},
                        {"state_dir", state_dir_},
                        {"socket", options.socket_path},
                        {"tcp_port", api_->tcp_port()},
                        {"environments", provisioner_->live()},
                        {"max_connections", options.max_connections}});
    NotifySystemd("READY=1");
    NotifyStarter(flags_.ready_fd);
    return absl::OkStatus();
  }

  const Flags& flags_;
  const std::string state_dir_;
  api::AccessPolicy::Options access_;
  api::SourceGate sources_;
  std::unique_ptr<StateLock> lock_;  // Until the store has it.
  EngineEventQueue engine_events_;
  std::unique_ptr<EngineHost> engine_host_;
  std::unique_ptr<Lifetime> lifetime_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<FolderGuard> guard_;
  std::unique_ptr<RealLoop> loop_;
  std::unique_ptr<RealLoop> worker_;
  std::unique_ptr<Provisioner> provisioner_;
  std::unique_ptr<api::ApiServer> api_;
  bool announced_ = false;
};

int Fail(const absl::Status& status, int code) {
  fprintf(stderr, "mayflyd: %s\n", std::string(status.message()).c_str());
  return code;
}

}  // namespace

int RunDaemon(const Flags& flags) {
  const absl::StatusOr<std::string> state_dir = PrepareStateDir(flags);
  if (!state_dir.ok()) return Fail(state_dir.status(), kFailed);
  if (const absl::Status log = SetUpLog(flags); !log.ok()) return Fail(log, kFailed);
  Daemon daemon(flags, *state_dir);
  bool taken = false;
  if (const absl::Status started = daemon.Start(taken); !started.ok()) {
    return Fail(started, taken ? kStateTaken : kFailed);
  }
  LogInfo("stopping", {{"reason", daemon.WaitForEnd()}});
  NotifySystemd("STOPPING=1");
  return 0;
}

}  // namespace mayfly::app
