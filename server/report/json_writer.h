// A report for scripts. The keys are a promise: docs/report.md; `version` changes when one of them does.
#ifndef MAYFLY_SERVER_REPORT_JSON_WRITER_H_
#define MAYFLY_SERVER_REPORT_JSON_WRITER_H_

#include <string>

#include "mayfly/report/report.h"

namespace mayfly {

// Two blanks of indentation, a newline at the end. Durations are numbers of milliseconds in keys that end in _ms; what
// is not known or never came is null. Text that is not UTF-8 comes with U+FFFD in place of the bad bytes.
std::string WriteJson(const Report& report);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_JSON_WRITER_H_
