// How captured output lies on disk, known to the writer inside an environment and to readers outside.
//
// A node's log is one stream of records, cut into segments of kSegmentBytes: "<node>.log" holds the first one, which is
// kept for good since it tells how the node started; "<node>.log.1", ".2" and so on the next ones, of which the oldest
// are removed as new ones come. The offset of a record is its segment's number * kSegmentBytes + its place in the file,
// so an offset means the same however much was removed meanwhile. A record never crosses a segment's end; what is left
// there stays unused. Numbers are little endian, as on every machine that the local engine runs on.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_LOG_FORMAT_H_
#define MAYFLY_SERVER_ENGINE_PARTS_LOG_FORMAT_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mayfly {

constexpr int64_t kSegmentBytes = 1 << 20;
constexpr int kDefaultSegments = 16;      // 16 MiB per node: the first segment and the latest fifteen.
constexpr size_t kMaxRecordText = 16384;  // Longer lines are several records.

// Before every record's text.
struct LogRecordHeader {
  static constexpr uint16_t kMagic = 0x6d66;
  enum Flags : uint8_t {
    kStderr = 1,   // Otherwise standard output.
    kPartial = 2,  // The line goes on in the next record of the same stream.
    kLost = 4,     // No line: the text is a uint64_t, so many bytes of output could not be written here.
  };
  uint16_t magic = kMagic;
  uint8_t flags = 0;
  uint8_t check = 0;  // Exclusive or of all other bytes; tells a record from the middle of one.
  uint32_t length = 0;
  int64_t time_us = 0;  // Since the Unix epoch, when it was read.
};
static_assert(sizeof(LogRecordHeader) == 16);

inline uint8_t CheckOf(LogRecordHeader header) {
  header.check = 0;
  unsigned char bytes[sizeof header];
  memcpy(bytes, &header, sizeof header);
  uint8_t check = 0x5a;
  for (const unsigned char byte : bytes) check ^= byte;
  return check;
}

inline void AppendRecord(std::string& out, uint8_t flags, int64_t time_us, absl::string_view text) {
  LogRecordHeader header;
  header.flags = flags;
  header.length = static_cast<uint32_t>(text.size());
  header.time_us = time_us;
  header.check = CheckOf(header);
  out.append(reinterpret_cast<const char*>(&header), sizeof header);
  out.append(text.data(), text.size());
}

// The header of the record that begins at `bytes`; nothing when none does. The text may not all be there yet.
inline std::optional<LogRecordHeader> ParseRecord(absl::string_view bytes) {
  LogRecordHeader header;
  if (bytes.size() < sizeof header) return std::nullopt;
  memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != LogRecordHeader::kMagic || header.length > kMaxRecordText || header.check != CheckOf(header)) {
    return std::nullopt;
  }
  return header;
}

inline std::string SegmentName(absl::string_view node, int64_t segment) {
  return segment == 0 ? absl::StrCat(node, ".log") : absl::StrCat(node, ".log.", segment);
}

// INVALID_ARGUMENT for what cannot be a node's name and so must not become part of a path: nodes are a service's or
// test job's name, or "<service>.<job>".
inline absl::Status CheckLogNode(absl::string_view node) {
  bool ok = !node.empty() && node.size() <= 128 && node[0] != '.';
  for (const char c : node)
    ok = ok && (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_');
  return ok ? absl::OkStatus() : absl::InvalidArgumentError("not the name of a node");
}

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_LOG_FORMAT_H_
