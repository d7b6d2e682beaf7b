// What an engine can do on this host, as a value that planning checks before anything is created.
#ifndef MAYFLY_ENGINE_CAPABILITIES_H_
#define MAYFLY_ENGINE_CAPABILITIES_H_

#include <string>
#include <vector>

namespace mayfly {

// One line of `mayfly doctor`.
struct CapabilityCheck {
  std::string name;  // "user namespaces".
  enum class Result { kOk, kDegraded, kMissing } result = Result::kOk;
  std::string detail;  // What was found.
  std::string remedy;  // How to mend it; empty when kOk.
};

struct Capabilities {
  std::string engine;   // "local", "kubernetes", "fake".
  bool usable = false;  // False: no environment can be created; `checks` says why. Exit code 10.
  bool images = false;  // Runs `image:` without `run:`.
  bool replicas = false;
  bool volumes = false;
  bool sidecars = false;
  bool users = false;          // Honours `user:`.
  bool memory_limits = false;  // False: rlimits only, and an out-of-memory cause is inferred.
  bool process_limits = false;
  bool cpu_limits = false;
  bool disk_limits = false;
  int start_slots = 0;  // Processes that may be started at the same time; 0: no limit of the engine's own.
  std::vector<CapabilityCheck> checks;
};

}  // namespace mayfly

#endif  // MAYFLY_ENGINE_CAPABILITIES_H_
