// What server, launcher, inits and shims say to each other. All of them are forks of one program, so there is one
// version of this file in a live system but for one case: a server may adopt an init of an earlier build. kProtocol is
// in every scope's descriptor, and a scope of another protocol is destroyed through its pid instead of being adopted.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_MESSAGES_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_MESSAGES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mayfly/base/cause.h"
#include "mayfly/engine/engine.h"
#include "mayfly/spec/process.h"
#include "server/engine/local/codec.h"

namespace mayfly::local {

constexpr int kProtocol = 2;
constexpr char kNotifySocket[] = "/run/mayfly/notify";  // Inside.

// ---- Values of the contracts. --------------------------------------------------------------------------------------
template <class V>
void VisitValue(V& v, Probe& p) {
  v(p.kind, p.port, p.path, p.service, p.command, p.pattern, p.within);
}
template <class V>
void VisitValue(V& v, Port& p) {
  v(p.name, p.number, p.expose, p.host_port);
}
template <class V>
void VisitValue(V& v, Resources& r) {
  v(r.memory_bytes, r.disk_bytes, r.processes, r.cpus);
}
template <class V>
void VisitValue(V& v, RenderedFile& f) {
  v(f.path, f.content, f.mode);
}
template <class V>
void VisitValue(V& v, StopPolicy& s) {
  v(s.signal, s.grace);
}
template <class V>
void VisitValue(V& v, ProcessSpec& s) {
  v(s.argv, s.image, s.workdir, s.source_root, s.variables, s.files, s.ports, s.probe, s.resources, s.stop, s.egress);
}
template <class V>
void VisitValue(V& v, NodeRef& n) {
  v(n.scope, n.node, n.attempt);
}
template <class V>
void VisitValue(V& v, Usage& u) {
  v(u.cpu, u.peak_memory_bytes);
}
template <class V>
void VisitValue(V& v, Cause& c) {
  v(c.code, c.node, c.message, c.hint, c.evidence, c.inferred);
}
template <class V>
void VisitValue(V& v, Receipt& r) {
  v(r.processes, r.mounts, r.networks, r.cgroups, r.ports, r.took, r.blockers);
}
template <class V>
void VisitValue(V& v, EngineEvent& e) {
  v(e.kind, e.node, e.when, e.pid, e.exit_code, e.signal, e.stopped, e.usage, e.cause, e.message, e.port, e.address,
    e.receipt);
}
template <class V>
void VisitValue(V& v, CapabilityCheck& c) {
  v(c.name, c.result, c.detail, c.remedy);
}
template <class V>
void VisitValue(V& v, Capabilities& c) {
  v(c.engine, c.usable, c.images, c.replicas, c.volumes, c.sidecars, c.users, c.memory_limits, c.process_limits,
    c.cpu_limits, c.disk_limits, c.start_slots, c.checks);
}

#define MAYFLY_MESSAGE(number, ...)         \
  static constexpr uint16_t kType = number; \
  template <class V>                        \
  void Visit(V& v) {                        \
    v(__VA_ARGS__);                         \
  }

// ---- Server and launcher. ------------------------------------------------------------------------------------------
struct TakeRequest {  // Gives the scope a shell; TakeReply.
  std::string scope, environment, owner, source_root, log_dir;
  int slots = 0;
  MAYFLY_MESSAGE(1, scope, environment, owner, source_root, log_dir, slots)
};
struct TakeReply {
  std::string scope, error;  // `error` is empty on success; then control.sock is being listened on.
  bool warm = false;
  MAYFLY_MESSAGE(2, scope, error, warm)
};
struct ReleaseRequest {  // Ends the scope, whoever made it; ReleaseReply.
  std::string scope;
  MAYFLY_MESSAGE(3, scope)
};
struct ReleaseReply {
  std::string scope;
  Receipt receipt;
  MAYFLY_MESSAGE(4, scope, receipt)
};
struct DescribeRequest {
  MAYFLY_MESSAGE(5)
};
struct DescribeReply {
  Capabilities capabilities;
  MAYFLY_MESSAGE(6, capabilities)
};
struct EgressRequest {  // A process outside that connects for the scope; EgressReply with one descriptor.
  std::string scope;
  MAYFLY_MESSAGE(7, scope)
};
struct EgressReply {
  std::string scope, error;
  MAYFLY_MESSAGE(8, scope, error)
};

// ---- Launcher and init. --------------------------------------------------------------------------------------------
struct InitBorn {  // From the short-lived parent: the init's pid. Carries the init's pidfd.
  int64_t pid = 0;
  MAYFLY_MESSAGE(20, pid)
};
struct InitWarm {  // All shims wait. `error` is empty.
  std::string error;
  MAYFLY_MESSAGE(21, error)
};
// Carries the listening control socket, then, where they are, the log folder and a detached mount of the source folder:
// all that the scope needs of the host, so that whatever server comes can go on with it. From here on the init outlives
// the launcher.
struct Assign {
  std::string scope, environment;
  bool has_logs = false;
  std::string source_root;  // What the mount shows; empty: none.
  MAYFLY_MESSAGE(22, scope, environment, has_logs, source_root)
};

// ---- Server and init. ----------------------------------------------------------------------------------------------
struct Hello {  // First message; Snapshot.
  MAYFLY_MESSAGE(40)
};
struct NodeSnapshot {
  std::string node;
  int attempt = 1;
  std::vector<EngineEvent> events;  // Of this attempt, in order.
  template <class V>
  void Visit(V& v) {
    v(node, attempt, events);
  }
};
struct Snapshot {
  std::string scope, environment;
  std::vector<NodeSnapshot> nodes;
  std::map<std::string, std::string> addresses;
  MAYFLY_MESSAGE(41, scope, environment, nodes, addresses)
};
struct PrepareRequest {
  std::string node;
  int attempt = 1;
  ProcessSpec process;
  MAYFLY_MESSAGE(42, node, attempt, process)
};
struct StartRequest {
  std::string node;
  int attempt = 1;
  bool one_shot = false;
  MAYFLY_MESSAGE(43, node, attempt, one_shot)
};
struct StopRequest {
  std::string node;
  MAYFLY_MESSAGE(44, node)
};
struct ExposeRequest {  // Carries the listening socket.
  std::string node;
  int port = 0;
  std::string address;  // Of the socket on the host.
  MAYFLY_MESSAGE(45, node, port, address)
};
struct ExecCommand {  // Carries stdin, stdout, stderr; a terminal is one descriptor three times.
  uint64_t id = 0;
  std::string node;
  std::vector<std::string> argv;
  bool terminal = false;
  MAYFLY_MESSAGE(46, id, node, argv, terminal)
};
struct ConnectRequest {  // Carries one end of a stream pair, to be joined with the port.
  uint64_t id = 0;
  std::string node;
  int port = 0;
  MAYFLY_MESSAGE(47, id, node, port)
};
struct CollectRequest {  // Carries the write end of a pipe for a stream of files; CallDone.
  uint64_t id = 0;
  std::string node;
  std::vector<std::string> paths;
  int64_t max_bytes = 0;
  MAYFLY_MESSAGE(48, id, node, paths, max_bytes)
};
struct CallDone {  // Answers 46 to 48. `code` is an absl::StatusCode.
  uint64_t id = 0;
  int code = 0;
  std::string message;
  int exit_code = 0;
  MAYFLY_MESSAGE(49, id, code, message, exit_code)
};
struct NodeEvent {
  EngineEvent event;
  MAYFLY_MESSAGE(50, event)
};
struct KillCommand {  // Of an ExecCommand; its CallDone follows.
  uint64_t id = 0;
  std::string node;
  MAYFLY_MESSAGE(52, id, node)
};
struct UsageRequest {  // UsageReply: what running nodes have used so far, as far as groups tell.
  MAYFLY_MESSAGE(55)
};
struct UsageReply {
  std::map<std::string, Usage> nodes;
  MAYFLY_MESSAGE(56, nodes)
};
struct EgressOpen {  // Init to the process outside.
  uint64_t id = 0;
  std::string host;
  int port = 0;
  MAYFLY_MESSAGE(53, id, host, port)
};
struct EgressOpened {  // Carries the connection unless there is an error.
  uint64_t id = 0;
  std::string error;
  MAYFLY_MESSAGE(54, id, error)
};
struct EgressGate {  // Carries the link to the process outside.
  MAYFLY_MESSAGE(51)
};

// ---- Init and shim. ------------------------------------------------------------------------------------------------
struct ShimWarm {
  std::string error;
  MAYFLY_MESSAGE(60, error)
};
struct ShimSetup {  // Carries stdout and stderr of the node. ShimReady or ShimFailed.
  std::string node, host_name;
  int source = -1;  // Number of the source folder in the shared folder; -1 without one.
  bool wipe_source = false;
  bool limit_data = false, limit_processes = false;  // By rlimits, for want of control groups.
  bool notify = false;
  std::vector<std::string> routes;  // Addresses outside that lie behind the hub for this node.
  ProcessSpec process;
  MAYFLY_MESSAGE(61, node, host_name, source, wipe_source, limit_data, limit_processes, notify, routes, process)
};
struct ShimReady {  // Carries the node's notify socket when its probe wants one.
  MAYFLY_MESSAGE(62)
};
struct ShimFailed {  // Of setup or start.
  Cause cause;
  MAYFLY_MESSAGE(63, cause)
};
struct ShimStart {
  MAYFLY_MESSAGE(64)
};
struct ShimStarted {  // Carries a pidfd of the process.
  absl::Duration when;
  MAYFLY_MESSAGE(65, when)
};
struct ShimSignal {  // 0: end everything now.
  int signal = 0;
  MAYFLY_MESSAGE(66, signal)
};
struct ShimExited {  // Main process and all others are gone.
  absl::Duration when;
  int exit_code = 0, signal = 0;
  Usage usage;
  bool disk_full = false;
  std::string workdir_detail;
  MAYFLY_MESSAGE(67, when, exit_code, signal, usage, disk_full, workdir_detail)
};
struct ShimSpawn {  // A command beside the node's process; carries stdin, stdout, stderr. ShimSpawnDone.
  uint64_t id = 0;
  std::vector<std::string> argv;
  bool terminal = false;
  MAYFLY_MESSAGE(68, id, argv, terminal)
};
struct ShimSpawnKill {
  uint64_t id = 0;
  MAYFLY_MESSAGE(69, id)
};
struct ShimSpawnDone {
  uint64_t id = 0;
  int code = 0;  // absl::StatusCode of starting it.
  std::string message;
  int exit_code = 0;
  MAYFLY_MESSAGE(70, id, code, message, exit_code)
};
struct ShimCollect {  // Carries a pipe's write end; ShimSpawnDone.
  uint64_t id = 0;
  std::vector<std::string> paths;
  int64_t max_bytes = 0;
  MAYFLY_MESSAGE(71, id, paths, max_bytes)
};

#undef MAYFLY_MESSAGE

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_MESSAGES_H_
