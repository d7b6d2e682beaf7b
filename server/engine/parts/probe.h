// Finds out when one attempt of a node is ready, and can say at any time why it is not yet.
//
// Where socket diagnostics of the service's network namespace are at hand, the port is first looked up in the kernel's
// table (2 us, and the service hears nothing of it) and only connected to once somebody listens; without them every
// look is a connection. Pace: the first look is at once, then every 0.5 ms, from 256 ms of age on every age/512 up to 2
// ms; a service that listens but answers unhealthily is asked every age/64 between 1 and 50 ms; a command is run every
// age/16 between 5 ms and 1 s, and never for more than a third of the time. Over the budget's share all of them slow
// down.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mayfly/base/cause.h"
#include "mayfly/spec/process.h"
#include "server/engine/parts/probe_budget.h"
#include "server/engine/parts/probe_exchange.h"
#include "server/engine/parts/reactor.h"
#include "server/engine/parts/sock_diag.h"

namespace re2 {
class RE2;
}

namespace mayfly {

// Why a node is not ready: the makings of a Cause.
struct ProbeFailure {
  CauseCode code = CauseCode::kProbeFailing;  // Or kNeverListened, kWrongPort.
  std::string message;                        // One safe sentence: "listens on 9090, declared is 8080".
  std::string hint;                           // What to do; may be empty.
  std::vector<std::string> evidence;          // The latest answer, what listens. Bounded and safe.
};

// Says what is wrong with a port on which the probe found nobody, from what listens in the service's namespace:
// nothing, another port, only 127.0.0.1, only IPv6. kProbeFailing when a connection to `ipv4_address` would reach
// somebody.
ProbeFailure ExplainPort(absl::string_view ipv4_address, int declared, const std::vector<ListeningPort>& listening);

// Runs a command inside, beside the service, without blocking; `done` once, never inline: its exit code (negative: it
// could not be run, or was killed) and the end of what it printed. It must not run for ever: whoever runs it ends it.
using RunCommand = std::function<void(const std::vector<std::string>& argv,
                                      std::function<void(int exit_code, std::string output_tail)> done)>;

struct ProberOptions {
  Probe probe;
  std::string address;            // The service's IPv4 address, for tcp, http and grpc.
  SockDiag* diag = nullptr;       // Of the service's network namespace; not owned. nullptr: probe by connecting only.
  ProbeBudget* budget = nullptr;  // Not owned. nullptr: no bound.
  RunCommand run_command;         // For Kind::kCommand.
};

// Not thread-safe. Destroying it ends probing; no callback is called afterwards.
class Prober {
 public:
  struct Callbacks {
    std::function<void()> on_ready;  // Once, never inline from Start; may destroy the Prober.
    // The state of things while not ready, at most once a second, first after one second. May destroy the Prober.
    std::function<void(const ProbeFailure&)> on_failing;
  };
  Prober(Reactor& reactor, ProberOptions options, Callbacks callbacks);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  // Once, when the process was started. The deadline (`probe.within`) is the caller's: on it, Diagnose says the cause.
  void Start();

  // Fed by the caller, whatever the kind; those that do not concern it are ignored. Ready is told inline.
  void OnLogLine(absl::string_view line);     // Without the line end.
  void OnNotify(absl::string_view datagram);  // As received on $NOTIFY_SOCKET.

  // Something changed that may have made it ready, such as a listen() that was just seen: looks again at once, and a
  // few times quickly after that, instead of when it is next due. Cheap, and harmless when wrong.
  void Hint();

  // Why it is not ready, now. Costs a list of the namespace's ports (20 us).
  ProbeFailure Diagnose() const;

  bool ready() const { return ready_; }
  // Looks and attempts so far, for measurements.
  int64_t looks() const { return looks_; }

 private:
  void Look();
  void RunOnce();
  void OnAnswer(ProbeAnswer answer);
  void OnCommandDone(int exit_code, const std::string& output);
  void BecomeReady();
  void Later(absl::Duration interval);
  // Calls on_failing when its second has come.
  void Report();
  absl::Duration Age() const { return reactor_.Now() - started_; }

  Reactor& reactor_;
  const ProberOptions options_;
  Callbacks callbacks_;
  std::unique_ptr<re2::RE2> pattern_;
  std::unique_ptr<ProbeExchange> exchange_;
  Reactor::TimerId timer_ = 0;
  Reactor::TimerId report_timer_ = 0;
  absl::Duration started_;
  absl::Duration command_started_;
  bool command_running_ = false;
  bool ready_ = false;
  bool connected_ = false;  // Somebody accepted once.
  int quick_ = 0;           // Looks left of the quick ones after a hint.
  int64_t looks_ = 0;
  std::string last_answer_;
  std::string status_;             // STATUS= of sd_notify.
  std::shared_ptr<Prober*> self_;  // For a command's `done`, which may come after our end.
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_H_
