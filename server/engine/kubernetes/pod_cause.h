// Why a pod does not run, from what the cluster says of it: by evidence, not by time.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_POD_CAUSE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_POD_CAUSE_H_

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "mayfly/base/cause.h"

namespace mayfly::kubernetes {

struct PodVerdict {
  enum class Kind {
    kFine,     // It runs, or is on its way.
    kWaiting,  // Something is wrong that may pass: `cause` says what it waits for.
    kFailed,   // It will never run.
    kEnded,    // Its container has ended, and `exit_code`, `signal` and, where there is one, `cause` say how.
  };
  Kind kind = Kind::kFine;
  Cause cause;
  int exit_code = 0;
  int signal = 0;
};

// `pod` as the API server gives it. Never fails: what it does not understand is fine.
PodVerdict JudgePod(const nlohmann::json& pod);

// Who is deleting `pod` and why, as far as it is told; empty when nobody is.
Cause CauseOfDeletion(const nlohmann::json& pod);

// Why a pod (or what it needs) could not be created: quota, admission, account, namespace.
Cause CauseOfRefusal(const absl::Status& status);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_POD_CAUSE_H_
