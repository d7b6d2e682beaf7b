// The files that a catalogue was read from, as text for the store: kept with an environment's record, so that it can be
// made again (`mayfly up --replay`) when they have changed or are gone.
#ifndef MAYFLY_SERVER_STORE_SOURCE_CODEC_H_
#define MAYFLY_SERVER_STORE_SOURCE_CODEC_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

// Bytes of encoded files that are kept with one environment.
inline constexpr size_t kMostSource = 4 << 20;

// Empty for no source, and for one that would take more than kMostSource.
std::string EncodeSource(const CatalogueSource* source);
// DATA_LOSS with what is wrong. Never nullptr.
absl::StatusOr<std::shared_ptr<const CatalogueSource>> DecodeSource(absl::string_view text);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_SOURCE_CODEC_H_
