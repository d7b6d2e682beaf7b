// Our own accept loop in front of gRPC's server. gRPC 1.51's listener dies for good when accept4 runs out of
// descriptors (CVE-2023-4785); this one waits and goes on. It also caps connections, so that the rest of the server
// keeps descriptors for itself, and lets only the server's own user (and root) in by the Unix socket.
#ifndef MAYFLY_SERVER_API_ACCEPTOR_H_
#define MAYFLY_SERVER_API_ACCEPTOR_H_

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/base/mutex.h"
#include "server/base/unique_fd.h"

namespace mayfly::api {

class Acceptor {
 public:
  struct Options {
    int max_connections = 10000;                        // Further ones wait in the kernel's queue.
    absl::Duration back_off = absl::Milliseconds(100);  // After running out of descriptors or connections.
  };
  // Takes over a connected, non-blocking descriptor.
  using Handler = std::function<void(int fd)>;

  explicit Acceptor(Options options);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Before Start. `unix_peers`: close connections of other users than this process's and root.
  enum class Peers { kOwnUser, kAnyone };
  void Add(UniqueFd listener, Peers peers, Handler handler);

  void Start();
  // Accepts nothing any more once it returns. Idempotent.
  void Stop();

  // Connections that were handed over and not closed since. Thread-safe.
  int open_connections();
  // Monotonic (CLOCK_MONOTONIC) time of the newest connection; zero when there was none. Thread-safe.
  absl::Duration last_accept() const;

 private:
  struct Listener {
    UniqueFd fd;
    Peers peers;
    Handler handler;
  };
  // The handler's side closes connections without telling. A descriptor with another inode is another file.
  struct Connection {
    int fd;
    ino_t inode;
  };

  void Run();
  // False when it is time to back off.
  bool AcceptAll(Listener& listener);
  void HandOver(Listener& listener, UniqueFd fd);

  const Options options_;
  std::vector<Listener> listeners_;
  UniqueFd stop_event_;
  std::thread thread_;
  std::atomic<int64_t> last_accept_ns_{0};
  Mutex mutex_;
  std::vector<Connection> connections_ ABSL_GUARDED_BY(mutex_);
  size_t recount_at_ = 64;  // Of the accept thread: forget closed connections once there are that many.
};

// Raises RLIMIT_NOFILE to the hard limit and returns how many descriptors there may be.
int RaiseDescriptorLimit();
// How many of `descriptors` connections may take; the rest is for stores, logs, engines and streams.
int ConnectionCap(int descriptors);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_ACCEPTOR_H_
