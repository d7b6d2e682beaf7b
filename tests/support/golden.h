// Output that is compared with a file of the tree. MAYFLY_UPDATE_GOLDENS=1 rewrites the files; the diff is to be read.
#ifndef MAYFLY_TESTS_SUPPORT_GOLDEN_H_
#define MAYFLY_TESTS_SUPPORT_GOLDEN_H_

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mayfly {

// `path` from the root of the tree, which is where tests run: "tests/golden/report/passed.txt".
inline void ExpectGolden(const std::string& path, const std::string& actual) {
  if (getenv("MAYFLY_UPDATE_GOLDENS") != nullptr) {
    std::ofstream file(path, std::ios::binary);
    file << actual;
    ASSERT_TRUE(file.good()) << path << " cannot be written (its folder must exist)";
    return;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << path << " is missing; MAYFLY_UPDATE_GOLDENS=1 writes it";
  const std::string expected((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(expected, actual) << path << " differs; if that is meant, MAYFLY_UPDATE_GOLDENS=1 rewrites it";
}

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_GOLDEN_H_
