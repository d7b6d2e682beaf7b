#include "mayfly/base/ids.h"

#include <openssl/evp.h>
#include <sys/random.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace mayfly {
namespace {

constexpr size_t kPrefixLength = 30;
constexpr int kHashCharacters = 10;

std::array<unsigned char, 32> Sha256(absl::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
  return digest;
}

}  // namespace

std::string Sha256Hex(absl::string_view bytes) {
  const auto digest = Sha256(bytes);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string ScopeId(absl::string_view installation, absl::string_view environment, int64_t generation) {
  // Lengths in front keep ("a", "bc") apart from ("ab", "c").
  const auto digest =
      Sha256(absl::StrCat(installation.size(), ":", installation, environment.size(), ":", environment, generation));
  constexpr absl::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  absl::string_view prefix = environment.substr(0, kPrefixLength);
  while (absl::ConsumeSuffix(&prefix, "-")) {
  }
  std::string out = absl::StrCat(prefix, "-");
  // One byte a character: 5 of its 8 bits, 50 bits in all.
  for (int i = 0; i < kHashCharacters; ++i) out.push_back(kAlphabet[digest[i] & 31]);
  return out;
}

std::string NewUuid() {
  std::array<unsigned char, 16> b{};
  // Up to 256 bytes are never short and fail only on a kernel without getrandom.
  while (getrandom(b.data(), b.size(), 0) != static_cast<ssize_t>(b.size())) {
  }
  b[6] = (b[6] & 0x0F) | 0x40;
  b[8] = (b[8] & 0x3F) | 0x80;
  std::string out;
  for (size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
    absl::StrAppendFormat(&out, "%02x", b[i]);
  }
  return out;
}

}  // namespace mayfly
