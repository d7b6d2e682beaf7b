// (Catalogue, request, capabilities) -> Plan. Pure and deterministic: the same arguments give the same plan, byte for
// byte.
#ifndef MAYFLY_SERVER_PLAN_PLANNER_H_
#define MAYFLY_SERVER_PLAN_PLANNER_H_

#include <functional>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/engine/capabilities.h"
#include "mayfly/plan/plan.h"
#include "mayfly/spec/catalogue.h"
#include "mayfly/spec/environment_request.h"

namespace mayfly {

struct PlanResult {
  Plan plan;                // Usable only when ok().
  Diagnostics diagnostics;  // Unknown names have no position; cycles and what the engine cannot do have one.

  bool ok() const { return !HasErrors(diagnostics); }
};

// Text that changes when the file, or anything in the folder, at an absolute path does; empty when there is none. The
// planner's one look at the world, handed in so that planning stays pure: see file_fingerprint.h.
using Fingerprint = std::function<std::string(const std::string& path)>;

// `start_times`: node name -> time from start to ready or completed, as last measured. `request.name` is the
// environment's name; the catalogue's name stands in for an empty one.
//
// Variables of a process, later ones over earlier: the service's (a job's on top), what the request sets for a name
// among them, secrets, MAYFLY_ENVIRONMENT and MAYFLY_SERVICE.
//
// A node's digest covers what a running process was started with: command, image, folders, variables, files, ports,
// limits, egress, and the fingerprints of what lies below the catalogue's root and is its own: its service's folder
// (unless that is the root), its `paths`, and what it names: a word of the command, what stands behind the "=" of a
// flag, or the value of a variable. Probe, stop and restart policy can change under a running process and are left out.
PlanResult MakePlan(const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities& capabilities,
                    const std::map<std::string, absl::Duration>& start_times, const Fingerprint& fingerprint = {});

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_PLANNER_H_
