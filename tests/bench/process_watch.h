// What the kernel itself says about processes: exec events with their time (the process connector), and when a service
// that was started accepts connections, seen from inside its network. Independent of mayfly. Needs root.
#ifndef MAYFLY_TESTS_BENCH_PROCESS_WATCH_H_
#define MAYFLY_TESTS_BENCH_PROCESS_WATCH_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace mayfly::bench {

int64_t NowNs();  // CLOCK_MONOTONIC, which is also the clock of the kernel's events.

// A process whose variable W21 is "<mark>/<name>".
struct Seen {
  int pid = 0;
  int64_t exec_ns = 0;
  int64_t ready_ns = 0;  // First connection to its port that was accepted; 0: not yet.
};

class ProcessWatch {
 public:
  // Sees what is executed from now on. Ends the program when the kernel does not let it.
  explicit ProcessWatch(std::string mark);
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

  // Until `count` services were executed, and with `port` each accepts connections there, or `limit_ns` has passed.
  // The kernel is asked who listens, and whoever does is connected to: 21 connections every half millisecond would be a
  // tenth of the machine. Moves the calling thread between network namespaces: use a thread of its own.
  void Await(size_t count, int port, int64_t limit_ns);

  const std::map<std::string, Seen>& seen() const { return seen_; }
  void Forget();

 private:
  void ReadEvents();
  void OnExec(int pid, int64_t when);
  void Probe(int port);

  const std::string mark_;
  int events_ = -1;
  std::map<std::string, Seen> seen_;
  struct Probed {
    int connection = -1;  // In the service's own network.
    int diagnostics = -1;
  };
  std::map<std::string, Probed> probing_;
};

// Everything on this machine that one environment holds, found through its services' processes.
class Holdings {
 public:
  // `state_dir` may lose folders, too; those of logs and reports stay and are not looked at.
  Holdings(const std::vector<int>& service_pids, const std::string& state_dir,
           const std::set<std::string>& folders_before);
  ~Holdings();
  Holdings(const Holdings&) = delete;
  Holdings& operator=(const Holdings&) = delete;

  // Waits until every process is gone (not only dead, unless its parent is pid 1), every control group gone or empty,
  // and every mount and folder gone; returns when that was, or 0 after `limit_ns`.
  int64_t AwaitReleased(int64_t limit_ns);
  std::string Left() const;
  size_t processes() const { return pids_.size(); }

  static std::set<std::string> Folders(const std::string& state_dir);

 private:
  bool Gone() const;
  static bool InUse(const std::string& cgroup);

  std::map<int, int> pids_;  // pid -> pidfd
  std::set<std::string> cgroups_;
  std::set<std::string> folders_;
  std::set<std::string> mounts_;
};

}  // namespace mayfly::bench

#endif  // MAYFLY_TESTS_BENCH_PROCESS_WATCH_H_
