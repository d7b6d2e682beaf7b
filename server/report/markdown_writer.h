// A report as a comment on a pull request or as a step summary (GitHub and GitLab markdown).
#ifndef MAYFLY_SERVER_REPORT_MARKDOWN_WRITER_H_
#define MAYFLY_SERVER_REPORT_MARKDOWN_WRITER_H_

#include <string>

#include "mayfly/report/report.h"

namespace mayfly {

// The headline is a heading; services and chain are folded away. Text that mayfly did not write stands in code spans
// and blocks, where neither markup nor mentions work.
std::string WriteMarkdown(const Report& report);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_MARKDOWN_WRITER_H_
