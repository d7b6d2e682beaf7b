// The local engine alone, with a clock of its own: what it costs to make a scope, to have the services of W21 ready and
// to remove everything. Drives the Engine contract directly, without orchestrator, store and gRPC.
//
//   mayfly-engine-bench MAYFLY_WORKLOAD [--delays] [--rounds N] [--pause MS]
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/local/sys.h"

namespace mayfly {
namespace {

class Queue : public EngineEventSink {
 public:
  void OnEngineEvent(const EngineEvent& event) override {
    std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back(event);
    ready_.notify_one();
  }
  EngineEvent Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!ready_.wait_for(lock, std::chrono::seconds(30), [this] { return !events_.empty(); })) {
      std::fprintf(stderr, "no event for 30 s\n");
      std::exit(1);
    }
    EngineEvent event = events_.front();
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<EngineEvent> events_;
};

struct Service {
  std::string name;
  int delay_ms = 0;
  std::vector<int> parents, children;
};

std::vector<Service> MakeW21(bool delays) {
  std::vector<Service> all;
  const int sizes[] = {3, 6, 8, 4}, base[] = {300, 200, 150, 100};
  std::vector<int> previous;
  for (int tier = 0; tier < 4; ++tier) {
    std::vector<int> current;
    for (int i = 0; i < sizes[tier]; ++i) {
      Service service;
      service.name = absl::StrCat("t", tier, "-", i);
      service.delay_ms = delays ? base[tier] + (37 * i) % 120 : 0;
      const int index = static_cast<int>(all.size());
      if (!previous.empty()) {
        std::set<int> parents = {previous[i % previous.size()], previous[(2 * i + 1) % previous.size()]};
        service.parents.assign(parents.begin(), parents.end());
        for (const int p : parents) all[p].children.push_back(index);
      }
      all.push_back(service);
      current.push_back(index);
    }
    previous = current;
  }
  return all;
}

double Ms(absl::Duration d) {
  return absl::ToDoubleMilliseconds(d);
}

void PrintRow(const char* name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  std::printf("%-10s n=%zu min %.2f median %.2f p95 %.2f max %.2f ms\n", name, n, values[0], values[n / 2],
              values[std::min(n - 1, n * 95 / 100)], values[n - 1]);
}

int Main(int argc, char** argv) {
  std::string workload = argc > 1 ? argv[1] : "";
  bool delays = false;
  int rounds = 20, pause_ms = 300;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--delays") == 0) delays = true;
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::atoi(argv[++i]);
    if (std::strcmp(argv[i], "--pause") == 0) pause_ms = std::atoi(argv[++i]);
  }
  char state[] = "/tmp/mayfly-engine-bench-XXXXXX";
  if (mkdtemp(state) == nullptr) return 1;
  local::LauncherOptions launcher_options;
  launcher_options.state_dir = state;
  auto launcher = local::ForkLauncher(launcher_options);
  if (!launcher.ok()) {
    std::fprintf(stderr, "%s\n", launcher.status().ToString().c_str());
    return 1;
  }
  Queue queue;
  std::vector<double> created, ready, released, whole;
  {
    auto engine = local::LocalEngine::Create({state}, *std::move(launcher), &queue);
    engine->Describe();
    const std::vector<Service> services = MakeW21(delays);
    for (int round = 0; round < rounds; ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      const std::string id = absl::StrCat("bench-", round);
      const absl::Duration begin = local::MonotonicNow();
      ScopeSpec scope{id, "bench", "me", absl::StrCat(state, "/logs/", round), "", static_cast<int>(services.size())};
      if (!engine->CreateScope(scope).ok()) return 1;
      std::map<std::string, int> index;
      std::vector<size_t> waiting(services.size());
      for (size_t i = 0; i < services.size(); ++i) {
        index[services[i].name] = static_cast<int>(i);
        waiting[i] = services[i].parents.size();
        ProcessSpec process;
        process.argv = {workload, "sleep", absl::StrCat(services[i].delay_ms), "tcp", "8080"};
        process.probe.kind = Probe::Kind::kTcp;
        process.probe.port = 8080;
        engine->Prepare({id, services[i].name, 1}, process).IgnoreError();
      }
      for (size_t i = 0; i < services.size(); ++i) {
        if (waiting[i] == 0) engine->Start({id, services[i].name, 1}, false).IgnoreError();
      }
      size_t ready_count = 0;
      absl::Duration all_ready;
      absl::Duration first_start = absl::InfiniteDuration(), prepared;
      while (ready_count < services.size()) {
        const EngineEvent event = queue.Next();
        if (event.kind == EngineEvent::Kind::kScopeReady) created.push_back(Ms(local::MonotonicNow() - begin));
        if (event.kind == EngineEvent::Kind::kPrepared) prepared = event.when;
        if (event.kind == EngineEvent::Kind::kStarted) first_start = std::min(first_start, event.when);
        if (event.kind == EngineEvent::Kind::kStartFailed || event.kind == EngineEvent::Kind::kScopeFailed ||
            event.kind == EngineEvent::Kind::kExited) {
          std::fprintf(stderr, "failed: %s %s\n", event.node.node.c_str(), FormatCause(event.cause).c_str());
          return 1;
        }
        if (event.kind != EngineEvent::Kind::kReady) continue;
        ++ready_count;
        all_ready = event.when;
        for (const int child : services[index[event.node.node]].children) {
          if (--waiting[child] == 0) engine->Start({id, services[child].name, 1}, false).IgnoreError();
        }
      }
      ready.push_back(Ms(all_ready - begin));
      if (std::getenv("VERBOSE") != nullptr) {
        std::printf("round %d: scope %.2f first start %.2f last prepared %.2f ready %.2f\n", round, created.back(),
                    Ms(first_start - begin), Ms(prepared - begin), ready.back());
      }
      const absl::Duration end = local::MonotonicNow();
      engine->Destroy(id).IgnoreError();
      for (;;) {
        const EngineEvent event = queue.Next();
        if (event.kind == EngineEvent::Kind::kScopeReleased) {
          for (const std::string& blocker : event.receipt.blockers) std::fprintf(stderr, "left: %s\n", blocker.c_str());
        }
        if (event.kind == EngineEvent::Kind::kScopeReleased) released.push_back(Ms(local::MonotonicNow() - end));
        if (event.kind == EngineEvent::Kind::kScopeGone) break;
      }
      whole.push_back(Ms(local::MonotonicNow() - begin));
    }
  }
  PrintRow("scope", created);
  PrintRow("ready", ready);
  PrintRow("released", released);
  PrintRow("whole", whole);
  local::RemoveTree(AT_FDCWD, state).IgnoreError();
  return 0;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  return mayfly::Main(argc, argv);
}
