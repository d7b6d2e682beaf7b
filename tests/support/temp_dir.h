// A folder that is gone when the test is.
#ifndef MAYFLY_TESTS_SUPPORT_TEMP_DIR_H_
#define MAYFLY_TESTS_SUPPORT_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace mayfly {

class TempDir {
 public:
  TempDir() {
    std::string pattern = testing::TempDir() + "/mayfly-test-XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
    EXPECT_FALSE(path_.empty()) << "no temporary folder in " << testing::TempDir();
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(absl::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_TEMP_DIR_H_
