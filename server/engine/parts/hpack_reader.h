// Reads HTTP/2 header blocks, as far as a peer needs that has announced a header table of size 0: the static table,
// literals, and Huffman-coded printable ASCII.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_HPACK_READER_H_
#define MAYFLY_SERVER_ENGINE_PARTS_HPACK_READER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Fields whose name stands in the static table but means nothing to a probe come out under the name "?"; so do strings
// with characters that are not printable. INVALID_ARGUMENT for a block that is cut off or refers to a table we do not
// have.
absl::StatusOr<HeaderList> ReadHpack(absl::string_view block);

// The plain text of Huffman-coded printable ASCII; INVALID_ARGUMENT for other codes and for wrong padding.
absl::StatusOr<std::string> DecodeHuffman(absl::string_view bytes);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_HPACK_READER_H_
