#include "mayfly/base/status.h"

namespace mayfly {

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status out(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

absl::Status ErrnoStatus(int errno_value, absl::string_view what) {
  return absl::ErrnoToStatus(errno_value, what);
}

}  // namespace mayfly
