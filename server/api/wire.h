// Messages that are serialized once and shared by all who receive them.
#ifndef MAYFLY_SERVER_API_WIRE_H_
#define MAYFLY_SERVER_API_WIRE_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "mayfly/base/mutex.h"
#include "server/run/event_hub.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

// `event` as an element of WatchEnvironmentResponse.events, tag and length included: such slices behind each other are
// a message. Made once per event and kept in SharedEvent::wire. Thread-safe.
grpc::Slice EventSlice(const SharedEvent& event);

// Parses a raw request. INVALID_ARGUMENT when it is none.
template <typename Message>
absl::StatusOr<Message> ParseRaw(const grpc::ByteBuffer& raw) {
  Message message;
  grpc::Slice slice;
  if (raw.Valid() && !raw.TrySingleSlice(&slice).ok() && !raw.DumpToSingleSlice(&slice).ok()) {
    return absl::InvalidArgumentError("the request cannot be read");
  }
  if (!message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return absl::InvalidArgumentError("the request cannot be read");
  }
  return message;
}

// Serialized Environments of the views that were asked for last. A view is immutable, so its bytes are, too.
// Thread-safe.
class ViewCache {
 public:
  grpc::Slice Get(const EnvironmentViewRef& view);

 private:
  static constexpr size_t kMaxEntries = 4096;
  struct Entry {
    EnvironmentViewRef view;
    grpc::Slice slice;
  };
  Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // By uid.
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_WIRE_H_
