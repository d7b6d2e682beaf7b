// The last steps of one service: what follows from several of its keys together.
#ifndef MAYFLY_SERVER_SPEC_SERVICE_FINISH_H_
#define MAYFLY_SERVER_SPEC_SERVICE_FINISH_H_

#include <string>

#include "mayfly/spec/service_spec.h"
#include "server/spec/spec_files.h"

namespace mayfly {

// Completes `service`, which was bound from `merged` without errors: the probe's port and its ${self...}, exposed
// ports, texts of files taken `from` a file, one probe for one-shot jobs, conditions that depend on the kind. `folder`
// is relative to the root.
void FinishService(ServiceSpec& service, const YamlValue& merged, const std::string& folder, SpecFiles& files,
                   Sink& sink);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SERVICE_FINISH_H_
