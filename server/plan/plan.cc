#include "mayfly/plan/plan.h"

namespace mayfly {

int Plan::Find(absl::string_view name) const {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace mayfly
