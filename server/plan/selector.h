// Which nodes a request needs, and why each of them.
#ifndef MAYFLY_SERVER_PLAN_SELECTOR_H_
#define MAYFLY_SERVER_PLAN_SELECTOR_H_

#include <map>
#include <string>
#include <vector>

#include "mayfly/base/diagnostic.h"
#include "mayfly/spec/catalogue.h"
#include "mayfly/spec/environment_request.h"

namespace mayfly {

struct Selection {
  // Node -> why it is there, what was asked for first: "asked for", "needed by checkout", "referenced by frontend
  // (env.CART)", "before checkout", "covers cart". Never empty for a node.
  std::map<std::string, std::vector<std::string>> nodes;
  std::vector<std::string> asked;  // Nodes that the request names or that "all" means, in order.
  Diagnostics diagnostics;         // Names that there are not. Then `nodes` holds what there is.
};

// What is chosen:
//   services and tests named     those and no others;
//   nothing named                all services;
//   all_tests                    in addition every test job, or with services named those that cover one of *them*.
// and then everything that a chosen node needs or refers to, transitively. A service brings its `before` jobs; needing
// a job "<service>.<job>" brings the job and not its service.
Selection Select(const Catalogue& catalogue, const EnvironmentRequest& request);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_SELECTOR_H_
