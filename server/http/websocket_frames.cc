#include "server/http/websocket_frames.h"

#include <openssl/evp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mayfly::http {
namespace {

constexpr size_t kMostControl = 125;

bool IsControl(WsOpcode opcode) {
  return static_cast<uint8_t>(opcode) >= 8;
}

void AppendBigEndian(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t BigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Length of the well-formed UTF-8 sequence at the front, 0 when there is none.
size_t Utf8Length(absl::string_view s) {
  const unsigned char lead = s[0];
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < length) return 0;
  const unsigned char second = s[1];
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F)) return 0;  // Overlong; a surrogate.
  if ((lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) return 0;  // Overlong; beyond Unicode.
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool MayBeSent(uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

}  // namespace

std::string EncodeWsFrame(WsOpcode opcode, bool fin, absl::string_view payload, const WsMask* mask) {
  if (IsControl(opcode)) payload = payload.substr(0, kMostControl);
  std::string out;
  out.reserve(payload.size() + 14);
  out.push_back(static_cast<char>((fin ? 0x80 : 0) | static_cast<uint8_t>(opcode)));
  const int masked = mask != nullptr ? 0x80 : 0;
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(masked | payload.size()));
  } else if (payload.size() <= 0xFFFF) {
    out.push_back(static_cast<char>(masked | 126));
    AppendBigEndian(out, payload.size(), 2);
  } else {
    out.push_back(static_cast<char>(masked | 127));
    AppendBigEndian(out, payload.size(), 8);
  }
  if (mask == nullptr) return out.append(payload.data(), payload.size());
  out.append(reinterpret_cast<const char*>(mask->data()), mask->size());
  const size_t begin = out.size();
  out.append(payload.data(), payload.size());
  for (size_t i = 0; i < payload.size(); ++i) out[begin + i] = static_cast<char>(out[begin + i] ^ (*mask)[i % 4]);
  return out;
}

std::string EncodeWsClose(uint16_t code, absl::string_view reason) {
  std::string out;
  if (code == kWsNoCode) return out;
  AppendBigEndian(out, code, 2);
  reason = reason.substr(0, kMostControl - 2);
  while (!reason.empty() && !IsUtf8(reason)) reason.remove_suffix(1);
  return out.append(reason.data(), reason.size());
}

absl::Status WsDecoder::Fail(uint16_t code, std::string message) {
  done_ = true;
  failure_ = code;
  message_.clear();
  return code == kWsTooBig ? absl::ResourceExhaustedError(message) : absl::InvalidArgumentError(message);
}

size_t WsDecoder::HeaderSize() const {
  if (header_.size() < 2) return 2;
  const int length = header_[1] & 0x7F;
  return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (masked_ ? 4 : 0);
}

absl::Status WsDecoder::Feed(absl::string_view bytes, std::vector<WsMessage>& out) {
  while (!done_) {
    if (!in_payload_) {
      const size_t wanted = HeaderSize();
      const size_t size = std::min(wanted - header_.size(), bytes.size());
      header_.append(bytes.data(), size);
      bytes.remove_prefix(size);
      if (header_.size() < wanted) return absl::OkStatus();
      if (header_.size() < HeaderSize()) continue;
      if (absl::Status status = ReadHeader(); !status.ok()) return status;
    }
    const size_t size = static_cast<size_t>(std::min<uint64_t>(length_ - read_, bytes.size()));
    std::string& target = IsControl(opcode_) ? control_ : message_;
    const size_t begin = target.size();
    target.append(bytes.data(), size);
    if (masked_) {
      for (size_t i = 0; i < size; ++i)
        target[begin + i] = static_cast<char>(target[begin + i] ^ mask_[(read_ + i) % 4]);
    }
    read_ += size;
    bytes.remove_prefix(size);
    if (read_ < length_) return absl::OkStatus();
    if (absl::Status status = EndFrame(out); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status WsDecoder::ReadHeader() {
  const unsigned char first = static_cast<unsigned char>(header_[0]);
  fin_ = (first & 0x80) != 0;
  if ((first & 0x70) != 0) return Fail(kWsProtocolError, "a frame uses an extension that was not agreed on");
  opcode_ = static_cast<WsOpcode>(first & 0x0F);
  if (((header_[1] & 0x80) != 0) != masked_) {
    return Fail(kWsProtocolError, masked_ ? "a client's frame is not masked" : "a server's frame is masked");
  }
  const int length = header_[1] & 0x7F;
  const int extra = length == 126 ? 2 : length == 127 ? 8 : 0;
  length_ = extra == 0 ? length : BigEndian(absl::string_view(header_).substr(2, extra));
  if ((extra == 2 && length_ < 126) || (extra == 8 && length_ <= 0xFFFF)) {
    return Fail(kWsProtocolError, "a frame's length is written longer than needed");
  }
  if (length_ >> 63 != 0) return Fail(kWsProtocolError, "a frame's length is negative");
  if (absl::Status status = CheckOpcode(fin_); !status.ok()) return status;
  if (!IsControl(opcode_) && length_ > max_message_ - std::min(max_message_, message_.size())) {
    return Fail(kWsTooBig, absl::StrCat("a message is larger than ", max_message_, " bytes"));
  }
  if (masked_) {
    for (size_t i = 0; i < 4; ++i) mask_[i] = static_cast<unsigned char>(header_[2 + extra + i]);
  }
  in_payload_ = true;
  read_ = 0;
  header_.clear();
  return absl::OkStatus();
}

absl::Status WsDecoder::CheckOpcode(bool fin) {
  switch (opcode_) {
    case WsOpcode::kContinuation:
      return fragmented_ ? absl::OkStatus() : Fail(kWsProtocolError, "a continuation of no message");
    case WsOpcode::kText:
    case WsOpcode::kBinary:
      if (fragmented_) return Fail(kWsProtocolError, "a message begins inside another one");
      fragmented_ = true;
      message_opcode_ = opcode_;
      return absl::OkStatus();
    case WsOpcode::kClose:
    case WsOpcode::kPing:
    case WsOpcode::kPong:
      if (!fin) return Fail(kWsProtocolError, "a control frame is fragmented");
      if (length_ > kMostControl) return Fail(kWsProtocolError, "a control frame is longer than 125 bytes");
      return absl::OkStatus();
  }
  return Fail(kWsProtocolError, absl::StrCat("a frame of the unknown kind ", static_cast<int>(opcode_)));
}

absl::Status WsDecoder::EndFrame(std::vector<WsMessage>& out) {
  in_payload_ = false;
  if (opcode_ == WsOpcode::kClose) return EndClose(out);
  if (IsControl(opcode_)) {
    out.push_back({opcode_, std::exchange(control_, {}), kWsNoCode});
    return absl::OkStatus();
  }
  if (!fin_) return absl::OkStatus();
  fragmented_ = false;
  if (message_opcode_ == WsOpcode::kText && !IsUtf8(message_)) return Fail(kWsBadText, "a text message is not UTF-8");
  out.push_back({message_opcode_, std::exchange(message_, {}), kWsNoCode});
  return absl::OkStatus();
}

absl::Status WsDecoder::EndClose(std::vector<WsMessage>& out) {
  WsMessage close = {WsOpcode::kClose, "", kWsNoCode};
  if (control_.size() == 1) return Fail(kWsProtocolError, "a close frame with half a code");
  if (control_.size() >= 2) {
    close.close_code = static_cast<uint16_t>(BigEndian(absl::string_view(control_).substr(0, 2)));
    close.payload = control_.substr(2);
    if (!MayBeSent(close.close_code)) {
      return Fail(kWsProtocolError, absl::StrCat("the close code ", close.close_code, " must not be sent"));
    }
    if (!IsUtf8(close.payload)) return Fail(kWsBadText, "the reason of a close frame is not UTF-8");
  }
  done_ = true;
  out.push_back(std::move(close));
  return absl::OkStatus();
}

std::string WsAcceptFor(absl::string_view key) {
  const std::string text = absl::StrCat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return "";
  return absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

}  // namespace mayfly::http
