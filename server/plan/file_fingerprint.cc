#include "server/plan/file_fingerprint.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"

namespace mayfly {

std::string FileFingerprint(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  return absl::StrCat(info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

}  // namespace mayfly
