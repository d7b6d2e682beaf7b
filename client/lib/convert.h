// protobuf's times as absl's.
#ifndef MAYFLY_CLIENT_LIB_CONVERT_H_
#define MAYFLY_CLIENT_LIB_CONVERT_H_

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace mayfly {

inline absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

inline absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

inline google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration out;
  out.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return out;
}

inline google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp out;
  const google::protobuf::Duration since = ToProto(time - absl::UnixEpoch());
  out.set_seconds(since.seconds());
  out.set_nanos(since.nanos());
  return out;
}

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_CONVERT_H_
