// The provisioner with the readers, planner and reporters that it is made of here.
#ifndef MAYFLY_SERVER_APP_PROVISIONING_H_
#define MAYFLY_SERVER_APP_PROVISIONING_H_

#include <memory>
#include <string>

#include "mayfly/base/loop.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"
#include "server/run/engine_event_queue.h"
#include "server/run/provisioner.h"
#include "server/store/store.h"

namespace mayfly::app {

// Nothing is owned; all must outlive the provisioner.
struct ProvisioningParts {
  std::string state_dir;
  Loop* loop = nullptr;
  Engine* engine = nullptr;
  EngineEventQueue* engine_events = nullptr;
  Store* store = nullptr;
  FileCollector* collector = nullptr;
  LogSource* logs = nullptr;
  int max_environments = 500;
};
std::unique_ptr<Provisioner> MakeProvisioner(const ProvisioningParts& parts);

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_PROVISIONING_H_
