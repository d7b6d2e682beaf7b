// A report for people at a terminal: at most 100 columns, no colours, no control characters.
#ifndef MAYFLY_SERVER_REPORT_TEXT_WRITER_H_
#define MAYFLY_SERVER_REPORT_TEXT_WRITER_H_

#include <string>

#include "mayfly/report/report.h"

namespace mayfly {

// Headline first, then evidence and advice, tests, services with what each cost, the critical chain, the receipt.
std::string WriteText(const Report& report);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_TEXT_WRITER_H_
