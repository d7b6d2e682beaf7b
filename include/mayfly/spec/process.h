// What an engine runs: one process with everything resolved. No references, no defaults, no origin are left in here;
// the planner made it from a ServiceSpec or TestJobSpec, and both the plan and the engines speak of it.
#ifndef MAYFLY_SPEC_PROCESS_H_
#define MAYFLY_SPEC_PROCESS_H_

#include <csignal>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mayfly {

struct Probe {
  enum class Kind {
    kNone,     // Ready as soon as it was started.
    kTcp,      // A connection to `port` is accepted.
    kHttp,     // GET `path` on `port` answers 200 to 399.
    kGrpc,     // grpc.health.v1.Health/Check of `service` on `port` answers SERVING.
    kCommand,  // `command`, run inside beside the service, exits 0.
    kLog,      // A line of its output matches the RE2 `pattern` (unanchored).
    kNotify,   // It sends READY=1 to $NOTIFY_SOCKET (sd_notify).
  };
  Kind kind = Kind::kNone;
  int port = 0;
  std::string path;
  std::string service;
  std::vector<std::string> command;
  std::string pattern;
  absl::Duration within = absl::Seconds(60);  // From start to ready; over it the node has failed.

  friend bool operator==(const Probe&, const Probe&) = default;
};

struct Port {
  std::string name;     // "http", "grpc", "metrics"; unique within the service.
  int number = 0;       // 1 to 65535.
  bool expose = false;  // Reachable from the host.
  int host_port = 0;    // Asked-for port on the host's loopback; 0: the engine chooses, the same one each time if free.

  friend bool operator==(const Port&, const Port&) = default;
};

// Storage that outlives the process and is shared by its attempts; it goes with the environment.
struct Volume {
  std::string name;        // Unique within the service.
  std::string path;        // Absolute, inside.
  int64_t size_bytes = 0;  // Asked for; 0: the engine's default.

  friend bool operator==(const Volume&, const Volume&) = default;
};

// A process that runs beside the service in its network, from its start to its end, and is not probed.
struct Sidecar {
  std::string name;               // Unique within the service.
  std::string image;              // Always given.
  std::vector<std::string> argv;  // Empty: the image's own command.
  std::map<std::string, std::string> variables;

  friend bool operator==(const Sidecar&, const Sidecar&) = default;
};

// Zero means "no limit of its own".
struct Resources {
  int64_t memory_bytes = 0;
  int64_t disk_bytes = 0;  // Size of the private writable layer.
  int64_t processes = 0;
  double cpus = 0;  // 0.5 is half a core.

  friend bool operator==(const Resources&, const Resources&) = default;
};

struct RenderedFile {
  std::string path;  // Absolute, inside; or relative to the working directory.
  std::string content;
  int mode = 0444;

  friend bool operator==(const RenderedFile&, const RenderedFile&) = default;
};

struct StopPolicy {
  int signal = SIGTERM;
  absl::Duration grace = absl::Seconds(5);  // Then SIGKILL to whatever is left of it.

  friend bool operator==(const StopPolicy&, const StopPolicy&) = default;
};

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0] without '/' is searched in PATH; relative to `workdir` otherwise. Empty
                                  // only with an image, whose own command is meant.
  std::string image;              // Empty on the host's root file system.
  std::string workdir;  // Absolute on the host (local engine), inside the image (Kubernetes); empty: image's own.
  std::string
      image_workdir;        // As the spec has it, for an image: empty is the image's own, a relative one begins there.
  std::string user;         // Numeric user inside an image; empty: the engine's choice, never root.
  std::string source_root;  // Folder on the host, shown inside at the same path with a private writable layer.
  std::map<std::string, std::string> variables;  // Environment variables, complete but for PATH, HOME and their like.
  std::set<std::string> secrets;                 // Names of those variables whose values nobody may read.
  std::vector<RenderedFile> files;
  std::vector<Port> ports;
  Probe probe;
  Resources resources;
  StopPolicy stop;
  std::vector<std::string> egress;  // "host:port" outside the environment that it may reach.
  std::vector<Volume> volumes;
  std::vector<Sidecar> sidecars;
  int replicas = 1;             // How many run; the node is ready when all are.
  bool stable_address = false;  // Its name stands for one address that stays, whatever becomes of the process.

  friend bool operator==(const ProcessSpec&, const ProcessSpec&) = default;
};

}  // namespace mayfly

#endif  // MAYFLY_SPEC_PROCESS_H_
