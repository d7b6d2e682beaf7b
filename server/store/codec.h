// Values as JSON text for the columns that SQL never looks into. Only what is not the default is written, so that text
// stays short; unknown keys are skipped, so that an older server reads what a newer one wrote.
//
// Text that is not UTF-8 comes back with U+FFFD in place of the bad bytes. Errors: DATA_LOSS with what is wrong.
#ifndef MAYFLY_SERVER_STORE_CODEC_H_
#define MAYFLY_SERVER_STORE_CODEC_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mayfly/report/event.h"
#include "mayfly/spec/environment_request.h"

namespace mayfly {

// Whole nanoseconds; infinities become the largest and the smallest number.
int64_t EncodeTime(absl::Time time);
absl::Time DecodeTime(int64_t ns);
int64_t EncodeDuration(absl::Duration duration);
absl::Duration DecodeDuration(int64_t ns);

// Without `secrets`.
std::string EncodeRequest(const EnvironmentRequest& request);
absl::StatusOr<EnvironmentRequest> DecodeRequest(absl::string_view text);

// "" for no cause.
std::string EncodeCause(const Cause& cause);
absl::StatusOr<Cause> DecodeCause(absl::string_view text);

// Everything of an event but sequence, time, offset and kind, which have columns; "" when all of it is the default.
std::string EncodeEventDetail(const Event& event);
// `event` with its columns, completed from `text`.
absl::StatusOr<Event> DecodeEventDetail(Event event, absl::string_view text);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_CODEC_H_
