// Spec files written out in one text, for tests of the loader and the planner:
//   --- services/cart/service.yml
//   name: cart
//   ...
#ifndef MAYFLY_TESTS_SUPPORT_SPEC_CASE_H_
#define MAYFLY_TESTS_SUPPORT_SPEC_CASE_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// The files in a fresh folder, which is removed at the end. Text before the first "--- " line is the envspec.yml.
class SpecFolder {
 public:
  explicit SpecFolder(absl::string_view files) {
    std::string pattern = absl::StrCat(std::filesystem::temp_directory_path().string(), "/mayfly-spec-XXXXXX");
    root_ = mkdtemp(pattern.data());
    std::string path = "envspec.yml";
    std::string text;
    for (const absl::string_view line : absl::StrSplit(files, '\n')) {
      if (!absl::StartsWith(line, "--- ")) {
        absl::StrAppend(&text, line, "\n");
        continue;
      }
      if (!text.empty()) Write(path, text);
      path = std::string(line.substr(4));
      text.clear();
    }
    Write(path, text);
  }
  ~SpecFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  SpecFolder(const SpecFolder&) = delete;
  SpecFolder& operator=(const SpecFolder&) = delete;

  const std::string& path() const { return root_; }

  void Write(const std::string& path, absl::string_view text) const {
    const std::filesystem::path file = std::filesystem::path(root_) / path;
    std::error_code ignored;  // Fuzzed files may stand in each other's way.
    std::filesystem::create_directories(file.parent_path(), ignored);
    std::ofstream(file, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  }

  // `text` with this folder's path taken out, so that it is the same in every run.
  std::string Relative(absl::string_view text) const {
    return absl::StrReplaceAll(text, {{root_ + "/", ""}, {root_, "."}});
  }

 private:
  std::string root_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_SPEC_CASE_H_
