// What is wrong with a catalogue beyond what loading it tells: the circles, and what planning all of it refuses.
#ifndef MAYFLY_SERVER_PLAN_LINT_H_
#define MAYFLY_SERVER_PLAN_LINT_H_

#include "mayfly/base/diagnostic.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

// Plans all services and tests for an engine that can do everything; secrets and ${env...} values, which only a request
// brings, are not missed. Of a catalogue with errors only circles are told: the rest follows from what was said
// already.
Diagnostics LintPlan(const LoadedCatalogue& loaded);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_LINT_H_
