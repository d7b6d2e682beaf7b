// Status helpers: context on the way up, and the two macros that keep call sites short.
#ifndef MAYFLY_BASE_STATUS_H_
#define MAYFLY_BASE_STATUS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// The same code and payloads with "context: " in front of the message; OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// The code for `errno_value`, and "what: <text of errno> " as message.
absl::Status ErrnoStatus(int errno_value, absl::string_view what);

}  // namespace mayfly

#define MAYFLY_RETURN_IF_ERROR(expr)                                           \
  do {                                                                         \
    if (absl::Status _mf_status = (expr); !_mf_status.ok()) return _mf_status; \
  } while (false)

#define MAYFLY_CONCAT_INNER(a, b) a##b
#define MAYFLY_CONCAT(a, b) MAYFLY_CONCAT_INNER(a, b)
#define MAYFLY_ASSIGN_OR_RETURN(lhs, expr) MAYFLY_ASSIGN_OR_RETURN_IMPL(MAYFLY_CONCAT(_mf_or_, __LINE__), lhs, expr)
#define MAYFLY_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = *std::move(tmp)

#endif  // MAYFLY_BASE_STATUS_H_
