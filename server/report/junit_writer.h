// A report as a JUnit file.
#ifndef MAYFLY_SERVER_REPORT_JUNIT_WRITER_H_
#define MAYFLY_SERVER_REPORT_JUNIT_WRITER_H_

#include <map>
#include <string>

#include "mayfly/report/report.h"
#include "server/report/junit.h"

namespace mayfly {

// One suite per test job, with the cases of its own file in `files` (by job) or one case for the job as a whole, before
// them the suite "environment" with a case for each service and one-shot job and one for the teardown: a bring-up that
// failed shows as an error there. The first line names verdict and cause in a comment. A job that is declared flaky
// fails nothing: its failed cases are skipped ones with the failure as text, so that the file agrees with the verdict.
std::string WriteJunit(const Report& report, const std::map<std::string, JunitFile>& files);

// The same, with the files that the report names read from below `root`. A file that cannot be read is a case of its
// job's suite that says why.
std::string WriteJunitWithFiles(const Report& report, const std::string& root);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_JUNIT_WRITER_H_
