// What an engine can do on this host, as a value that planning checks before anything is created.
#ifndef MAYFLY_ENGINE_CAPABILITIES_H_
#define MAYFLY_ENGINE_CAPABILITIES_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mayfly {

// One line of `mayfly doctor`.
struct CapabilityCheck {
  std::string name;  // "user namespaces".
  enum class Result { kOk, kDegraded, kMissing } result = Result::kOk;
  std::string detail;  // What was found.
  std::string remedy;  // How to mend it; empty when kOk.
};

struct Capabilities {
  std::string engine;         // "local", "kubernetes", "fake".
  bool usable = false;        // False: no environment can be created; `checks` says why. Exit code 10.
  bool images = false;        // Runs `image:` without `run:`.
  bool needs_images = false;  // Runs nothing else.
  bool replicas = false;
  bool volumes = false;
  bool sidecars = false;
  bool users = false;          // Honours `user:`.
  bool memory_limits = false;  // False: rlimits only, and an out-of-memory cause is inferred.
  bool process_limits = false;
  bool cpu_limits = false;
  bool disk_limits = false;
  int prepare_window = 8;  // Prepare calls that may be under way at the same time in one environment.
  absl::Duration prepare_limit = absl::Seconds(30);  // After which a Prepare without an event counts as failed.
  int start_slots = 0;  // Processes that may be started at the same time; 0: no limit of the engine's own.
  std::vector<CapabilityCheck> checks;
};

}  // namespace mayfly

#endif  // MAYFLY_ENGINE_CAPABILITIES_H_
