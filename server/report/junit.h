// JUnit files: the one format that every test tool writes and every CI reads.
#ifndef MAYFLY_SERVER_REPORT_JUNIT_H_
#define MAYFLY_SERVER_REPORT_JUNIT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

struct JunitCase {
  enum class Outcome { kPassed, kFailed, kError, kSkipped };
  std::string classname;
  std::string name;
  std::string file;
  double seconds = 0;
  Outcome outcome = Outcome::kPassed;
  bool flaky = false;  // Passed only after a retry of its own (flakyFailure, flakyError), or failed again in one.
  std::string type;    // Of the failure, error or skip.
  std::string message;
  std::string text;  // Its body: usually a stack trace.
  std::string system_out;
  std::string system_err;
};

struct JunitSuite {
  std::string name;
  double seconds = 0;
  std::vector<JunitCase> cases;
};

struct JunitTotals {
  int tests = 0;
  int failures = 0;
  int errors = 0;
  int skipped = 0;
  double seconds = 0;
};

struct JunitFile {
  std::vector<JunitSuite> suites;  // Nested ones are flattened, "outer / inner"; those without cases are left out.

  // Counted from the cases: the counts that a file states are often missing or wrong.
  JunitTotals Totals() const;
};

struct JunitLimits {
  size_t bytes = 32 << 20;
  size_t elements = 2'000'000;  // Start and end tags, attributes: bounds memory to some 100 bytes each.
  int depth = 64;               // Of nested suites.
  size_t text = 256 << 10;      // Of one body or output; longer ones are shortened.
};

// Reads untrusted bytes. Accepts <testsuites> or <testsuite> as root, nested suites, missing counts and names, CDATA,
// any order of attributes, any encoding that the file declares. Entities of a DTD are not expanded. INVALID_ARGUMENT
// with
// "<name>:line:col: what" when it is no JUnit file; RESOURCE_EXHAUSTED over a limit.
absl::StatusOr<JunitFile> ParseJunit(absl::string_view bytes, absl::string_view name, const JunitLimits& limits = {});

// The same for a file, or for all files *.xml of a folder, merged: only regular ones, never through a link at their
// end, and nothing read beyond the limit, which is for all of them together. NOT_FOUND also for a folder without such
// files.
absl::StatusOr<JunitFile> ReadJunitFile(const std::string& path, const JunitLimits& limits = {});

// All suites of all files, in order; suites of the same name become one.
JunitFile MergeJunit(const std::vector<JunitFile>& files);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_JUNIT_H_
