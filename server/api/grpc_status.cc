#include "server/api/grpc_status.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mayfly/base/text.h"
#include "server/api/convert.h"

namespace mayfly::api {
namespace {

// Metadata is limited to 8 KiB in total by clients. Binary values travel as base64, a third larger, and messages with
// each byte that is not printable ASCII as three.
constexpr size_t kMaxEncodedMessage = 1500;
constexpr size_t kMaxDiagnostics = 4400;
constexpr size_t kMaxText = 400;

std::string ShortMessage(const std::string& message) {
  const std::string safe = EscapeLine(message);
  size_t encoded = 0;
  for (size_t i = 0; i < safe.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(safe[i]);
    encoded += c >= 0x20 && c < 0x7f && c != '%' ? 1 : 3;
    if (encoded <= kMaxEncodedMessage) continue;
    while (i > 0 && (static_cast<unsigned char>(safe[i]) & 0xc0) == 0x80) --i;
    return absl::StrCat(safe.substr(0, i), "...");
  }
  return safe;
}

std::string Shorten(std::string text) {
  if (text.size() <= kMaxText) return text;
  size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), ShortMessage(std::string(status.message())));
}

v1::Diagnostics ShortDiagnostics(const Diagnostics& diagnostics) {
  std::vector<const Diagnostic*> order;
  for (const Diagnostic& diagnostic : diagnostics) order.push_back(&diagnostic);
  std::stable_partition(order.begin(), order.end(),
                        [](const Diagnostic* diagnostic) { return diagnostic->severity == Severity::kError; });
  v1::Diagnostics out;
  size_t bytes = 0;
  for (const Diagnostic* diagnostic : order) {
    v1::Diagnostic next = ToProto(*diagnostic);
    next.set_message(Shorten(std::move(*next.mutable_message())));
    next.set_hint(Shorten(std::move(*next.mutable_hint())));
    next.set_source_line(Shorten(std::move(*next.mutable_source_line())));
    const size_t size = next.ByteSizeLong() + 3;  // With tag and length.
    if (bytes + size > kMaxDiagnostics) break;
    bytes += size;
    *out.add_diagnostics() = std::move(next);
  }
  out.set_omitted(static_cast<int32_t>(order.size()) - out.diagnostics_size());
  return out;
}

}  // namespace mayfly::api
