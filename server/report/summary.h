// Sentences that every format of a report shares. All of them are one line and safe to print anywhere.
#ifndef MAYFLY_SERVER_REPORT_SUMMARY_H_
#define MAYFLY_SERVER_REPORT_SUMMARY_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mayfly/report/report.h"

namespace mayfly {

// The verdict's name, or the environment's state while there is none.
std::string Outcome(const Report& report);

// Verdict and cause, the first line of every format: "ERROR shop: checkout: OUT_OF_MEMORY: used 128 MiB of 128 MiB".
// Without a cause what was achieved: "PASSED shop: 3 test jobs passed (41 tests), ready after 1.13 s".
std::string Headline(const Report& report);

// The cause's hint, or the advice of its code; "" when there is neither.
std::string Advice(const Cause& cause);

// "complete in 21 ms: 43 processes, 21 networks, 3 ports; nothing is left", or how many things are left.
std::string DescribeTeardown(const Report& report);

// How the wall time divides: "1.13 s until ready, 97 % of it in the services themselves, 31 ms overhead".
std::string DescribeTime(const Report& report);

// The chain as one line: "plan 12 ms, postgres 300 ms, checkout 205 ms".
std::string DescribeChain(const Report& report);

// Nodes that were skipped, grouped by the node at fault: "checkout: cart, frontend".
std::vector<std::string> DescribeSkipped(const Report& report);

// "12 tests, 1 failed, 2 skipped", "" when the job left no JUnit file.
std::string DescribeCounts(const ReportTest& test);

// "840 ms", "-" for an offset or duration that never came.
std::string TimeOrDash(absl::Duration duration);
// "-" when unknown.
std::string CpuOrDash(const Usage& usage);
std::string MemoryOrDash(const Usage& usage);
// From the first launch to the end, negative infinity while it runs or when it never ran.
absl::Duration Took(const ReportTest& test);
// Launch to ready, negative infinity when it never was.
absl::Duration StartTime(const ReportNode& node);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_SUMMARY_H_
