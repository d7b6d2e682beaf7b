#include "server/engine/parts/hpack_reader.h"

#include <cstdint>

namespace mayfly {
namespace {

absl::Status Broken() {
  return absl::InvalidArgumentError("broken header block");
}

// RFC 7541 Appendix B is a canonical code: within one length codes are consecutive, in order of the symbols. '\1'
// stands for a code that is no printable character.
struct CodeLength {
  int bits;
  uint32_t first;
  absl::string_view symbols;
};
constexpr CodeLength kCodes[] = {
    {5, 0x0, "012aceiost"},
    {6, 0x14, " %-./3456789=A_bdfghlmnpru"},
    {7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"},
    {8, 0xf8, "&*,;XZ"},
    {10, 0x3f8, "!\"()?"},
    {11, 0x7fa, "'+|"},
    {12, 0xffa, "#>"},
    {13, 0x1ff8, "\1$@[]~"},
    {14, 0x3ffc, "^}"},
    {15, 0x7ffc, "<`{"},
};

class Reader {
 public:
  explicit Reader(absl::string_view block) : block_(block) {}
  bool done() const { return at_ >= block_.size(); }
  uint8_t Peek() const { return static_cast<uint8_t>(block_[at_]); }

  absl::StatusOr<uint32_t> Integer(int prefix_bits) {
    if (done()) return Broken();
    const uint32_t mask = (1u << prefix_bits) - 1;
    uint32_t value = static_cast<uint8_t>(block_[at_++]) & mask;
    if (value < mask) return value;
    for (int shift = 0; shift <= 21; shift += 7) {
      if (done()) return Broken();
      const uint8_t byte = static_cast<uint8_t>(block_[at_++]);
      value += static_cast<uint32_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    return Broken();
  }

  absl::StatusOr<std::string> String() {
    if (done()) return Broken();
    const bool huffman = Peek() & 0x80;
    const absl::StatusOr<uint32_t> length = Integer(7);
    if (!length.ok() || *length > block_.size() - at_) return Broken();
    const absl::string_view bytes = block_.substr(at_, *length);
    at_ += *length;
    if (!huffman) return std::string(bytes);
    absl::StatusOr<std::string> text = DecodeHuffman(bytes);
    return text.ok() ? *std::move(text) : std::string("?");
  }

 private:
  absl::string_view block_;
  size_t at_ = 0;
};

std::pair<std::string, std::string> StaticField(uint32_t index) {
  static constexpr const char* kStatus[] = {"200", "204", "206", "304", "400", "404", "500"};
  if (index >= 8 && index <= 14) return {":status", kStatus[index - 8]};
  return {"?", ""};
}

}  // namespace

absl::StatusOr<std::string> DecodeHuffman(absl::string_view bytes) {
  std::string text;
  uint32_t code = 0;
  int bits = 0;
  for (const char byte : bytes) {
    for (int shift = 7; shift >= 0; --shift) {
      code = code << 1 | ((static_cast<uint8_t>(byte) >> shift) & 1u);
      if (++bits > 15) return Broken();
      for (const CodeLength& length : kCodes) {
        if (length.bits != bits || code < length.first || code >= length.first + length.symbols.size()) continue;
        const char symbol = length.symbols[code - length.first];
        if (symbol == '\1') return Broken();
        text += symbol;
        code = 0;
        bits = 0;
        break;
      }
    }
  }
  // What is left must be padding: fewer than eight ones.
  if (bits > 7 || code != (1u << bits) - 1) return Broken();
  return text;
}

absl::StatusOr<HeaderList> ReadHpack(absl::string_view block) {
  HeaderList headers;
  Reader reader(block);
  while (!reader.done()) {
    const uint8_t first = reader.Peek();
    if ((first & 0xe0) == 0x20) {  // The peer says that its table has size 0 now.
      if (!reader.Integer(5).ok()) return Broken();
      continue;
    }
    const bool indexed = first & 0x80;
    const absl::StatusOr<uint32_t> index = reader.Integer(indexed ? 7 : (first & 0x40) ? 6 : 4);
    if (!index.ok() || *index > 61 || (indexed && *index == 0)) return Broken();
    if (indexed) {
      headers.push_back(StaticField(*index));
      continue;
    }
    absl::StatusOr<std::string> name = *index == 0 ? reader.String() : StaticField(*index).first;
    absl::StatusOr<std::string> value = name.ok() ? reader.String() : name;
    if (!value.ok()) return Broken();
    headers.emplace_back(*std::move(name), *std::move(value));
  }
  return headers;
}

}  // namespace mayfly
