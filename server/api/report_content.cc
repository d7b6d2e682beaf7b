#include "server/api/report_content.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "server/api/convert.h"
#include "server/base/unique_fd.h"
#include "server/report/json_writer.h"
#include "server/report/junit_writer.h"
#include "server/report/markdown_writer.h"
#include "server/report/text_writer.h"

namespace mayfly::api {
namespace {

// nullopt: not a regular file of at most `max_bytes`, or it cannot be read.
std::optional<std::string> ReadRegular(const std::string& path, int64_t max_bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info;
  if (!fd.valid() || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > max_bytes) {
    return std::nullopt;
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = read(fd.get(), content.data() + done, content.size() - done);
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

}  // namespace

std::string WriteReport(const Report& report, v1::GetReportRequest::Format format, const std::string& artifact_dir) {
  switch (format) {
    case v1::GetReportRequest::TEXT:
      return WriteText(report);
    case v1::GetReportRequest::JUNIT:
      return WriteJunitWithFiles(report, artifact_dir);
    case v1::GetReportRequest::MARKDOWN:
      return WriteMarkdown(report);
    default:
      return WriteJson(report);
  }
}

void AddKeptFiles(const std::string& artifact_dir, int64_t max_bytes, v1::GetReportResponse& response) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::recursive_directory_iterator it(artifact_dir, fs::directory_options::skip_permission_denied, error), end;
       !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->symlink_status(ignored).type() == fs::file_type::regular) paths.push_back(it->path().string());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    std::optional<std::string> content = ReadRegular(path, max_bytes);
    if (!content) {
      response.set_omitted_files(response.omitted_files() + 1);
      continue;
    }
    max_bytes -= static_cast<int64_t>(content->size());
    v1::GetReportResponse::File* file = response.add_files();
    file->set_path(Utf8(path.substr(artifact_dir.size() + 1)));
    file->set_content(*std::move(content));
  }
}

}  // namespace mayfly::api
