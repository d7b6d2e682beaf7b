// Values to bytes and back, for the messages between server, launcher, inits and shims. Fixed-width little-endian
// integers, strings and lists with a 32-bit count. No protobuf: the core links none, and inits stay small.
//
// A message is a struct with `template <class V> void Visit(V& v) { v(a, b, c); }`; Encode and Decode do the rest.
// Decode treats its input as hostile: every length is checked against what is left, before anything is allocated.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_CODEC_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_CODEC_H_

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::local {

class Encoder {
 public:
  template <class... T>
  void operator()(const T&... values) {
    (Put(values), ...);
  }
  std::string Take() { return std::move(out_); }

 private:
  template <class T>
  void Put(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      Put(static_cast<int32_t>(value));
    } else if constexpr (std::is_arithmetic_v<T>) {
      char bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof(T));
      out_.append(bytes, sizeof(T));
    } else {
      VisitValue(*this, const_cast<T&>(value));
    }
  }
  void Put(const std::string& value) {
    Put(static_cast<uint32_t>(value.size()));
    out_.append(value);
  }
  // Infinite durations travel as the extremes.
  void Put(const absl::Duration& value) { Put(absl::ToInt64Nanoseconds(value)); }
  template <class T>
  void Put(const std::vector<T>& values) {
    Put(static_cast<uint32_t>(values.size()));
    for (const T& value : values) Put(value);
  }
  template <class K, class T>
  void Put(const std::map<K, T>& values) {
    Put(static_cast<uint32_t>(values.size()));
    for (const auto& [key, value] : values) {
      Put(key);
      Put(value);
    }
  }

  std::string out_;
};

class Decoder {
 public:
  explicit Decoder(absl::string_view in) : in_(in) {}
  template <class... T>
  void operator()(T&... values) {
    (Get(values), ...);
  }
  // Everything was there and nothing is left.
  bool Done() const { return ok_ && in_.empty(); }

 private:
  template <class T>
  void Get(T& value) {
    if constexpr (std::is_enum_v<T>) {
      int32_t number = 0;
      Get(number);
      value = static_cast<T>(number);
    } else if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = 0;
      Get(byte);
      value = byte != 0;
    } else if constexpr (std::is_arithmetic_v<T>) {
      if (in_.size() < sizeof(T)) return Fail();
      std::memcpy(&value, in_.data(), sizeof(T));
      in_.remove_prefix(sizeof(T));
    } else {
      VisitValue(*this, value);
    }
  }
  void Get(std::string& value) {
    uint32_t size = 0;
    Get(size);
    if (!ok_ || in_.size() < size) return Fail();
    value.assign(in_.data(), size);
    in_.remove_prefix(size);
  }
  void Get(absl::Duration& value) {
    int64_t ns = 0;
    Get(ns);
    value = ns == std::numeric_limits<int64_t>::min()   ? -absl::InfiniteDuration()
            : ns == std::numeric_limits<int64_t>::max() ? absl::InfiniteDuration()
                                                        : absl::Nanoseconds(ns);
  }
  // Every element takes at least one byte, so a count beyond the rest of the input is a lie. Values are appended one by
  // one: a lie of the remaining size cannot allocate more than a small multiple of the input.
  bool GetCount(uint32_t& count) {
    Get(count);
    if (ok_ && count <= in_.size()) return true;
    Fail();
    return false;
  }
  template <class T>
  void Get(std::vector<T>& values) {
    uint32_t count = 0;
    if (!GetCount(count)) return;
    values.clear();
    for (uint32_t i = 0; i < count && ok_; ++i) Get(values.emplace_back());
  }
  template <class K, class T>
  void Get(std::map<K, T>& values) {
    uint32_t count = 0;
    if (!GetCount(count)) return;
    values.clear();
    for (uint32_t i = 0; i < count && ok_; ++i) {
      K key{};
      Get(key);
      Get(values[key]);
    }
  }
  void Fail() {
    ok_ = false;
    in_ = absl::string_view();
  }

  absl::string_view in_;
  bool ok_ = true;
};

// For structs of our own; messages.h overloads it for values of the contracts.
template <class V, class T>
void VisitValue(V& v, T& value) {
  value.Visit(v);
}

template <class T>
std::string Encode(const T& message) {
  Encoder encoder;
  encoder(message);
  return encoder.Take();
}

// False when `bytes` is not exactly one T.
template <class T>
bool Decode(absl::string_view bytes, T& message) {
  Decoder decoder(bytes);
  decoder(message);
  return decoder.Done();
}

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_CODEC_H_
