// What `mayfly explain SERVICE` prints: every value of the merged service and where it came from.
#ifndef MAYFLY_SERVER_SPEC_EXPLAIN_H_
#define MAYFLY_SERVER_SPEC_EXPLAIN_H_

#include <string>

#include "mayfly/spec/service_spec.h"

namespace mayfly {

// A table "key  value  origin", one line for each value, in order of key. Untrusted text is escaped. Ends with a
// newline.
std::string RenderExplain(const ServiceSpec& service);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_EXPLAIN_H_
