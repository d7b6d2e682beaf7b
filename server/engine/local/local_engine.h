// The local engine: environments as processes of this host, without a cluster, a daemon or root. See
// docs/architecture.md for its processes; this class is the server's side of it and holds no privilege of its own.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_H_

#include <memory>
#include <string>

#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"
#include "server/engine/local/launcher.h"

namespace mayfly::local {

struct LocalEngineOptions {
  std::string state_dir;  // The same as the launcher's.
};

// Thread-safe. Owns one thread, which talks to the launcher and the inits and calls the sink. `sink` must outlive it.
// Destroying it ends the launcher and its idle pool; scopes live on, for a later server to Recover.
class LocalEngine : public Engine, public Execer, public Connector, public FileCollector {
 public:
  static std::unique_ptr<LocalEngine> Create(const LocalEngineOptions& options, LauncherHandle launcher,
                                             EngineEventSink* sink);
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_H_
