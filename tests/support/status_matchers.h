// Matchers for absl::Status and absl::StatusOr; the packaged abseil has none.
#ifndef MAYFLY_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define MAYFLY_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace mayfly {

inline const absl::Status& ToStatus(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& ToStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << ToStatus(arg).ToString();
  return ToStatus(arg).ok();
}
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << ToStatus(arg).ToString();
  return ToStatus(arg).code() == code &&
         testing::ExplainMatchResult(message, std::string(ToStatus(arg).message()), result_listener);
}

}  // namespace mayfly

#define ASSERT_OK(expr) ASSERT_THAT((expr), ::mayfly::IsOk())
#define EXPECT_OK(expr) EXPECT_THAT((expr), ::mayfly::IsOk())

#endif  // MAYFLY_TESTS_SUPPORT_STATUS_MATCHERS_H_
