// The answer of GetReport: a report in one of its formats, with what its test jobs left behind.
#ifndef MAYFLY_SERVER_API_REPORT_CONTENT_H_
#define MAYFLY_SERVER_API_REPORT_CONTENT_H_

#include <cstdint>
#include <string>

#include "mayfly/report/report.h"
#include "mayfly/v1/environment_service.pb.h"

namespace mayfly::api {

inline constexpr int64_t kMaxReportFiles = 64 << 20;

// `artifact_dir` holds a folder for each test job. Reads files: not for a handler's own thread.
std::string WriteReport(const Report& report, v1::GetReportRequest::Format format, const std::string& artifact_dir);

// Regular files below `artifact_dir`, in order of path and as many as fit into `max_bytes` together; `omitted_files`
// counts the others. Follows no link. A folder that does not exist has none.
void AddKeptFiles(const std::string& artifact_dir, int64_t max_bytes, v1::GetReportResponse& response);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_REPORT_CONTENT_H_
