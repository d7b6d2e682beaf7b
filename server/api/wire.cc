#include "server/api/wire.h"

#include <atomic>
#include <memory>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/api/convert.h"

namespace mayfly::api {
namespace {

grpc::Slice Serialize(const google::protobuf::MessageLite& message) {
  return grpc::Slice(message.SerializeAsString());
}

grpc::Slice SerializeEvent(const Event& event) {
  v1::WatchEnvironmentResponse response;
  *response.add_events() = ToProto(event);
  return Serialize(response);
}

}  // namespace

grpc::Slice EventSlice(const SharedEvent& event) {
  if (const auto cached = std::atomic_load(&event.wire)) return *static_cast<const grpc::Slice*>(cached.get());
  // Two threads may both do this; one result stays and both are right.
  const auto made = std::make_shared<const grpc::Slice>(SerializeEvent(event.event));
  std::atomic_store(&event.wire, std::shared_ptr<const void>(made));
  return *made;
}

grpc::Slice ViewCache::Get(const EnvironmentViewRef& view) {
  {
    MutexLock lock(mutex_);
    const auto it = entries_.find(view->record.uid);
    if (it != entries_.end() && it->second.view == view) return it->second.slice;
  }
  grpc::Slice slice = Serialize(ToProto(*view, Nodes::kWith));
  MutexLock lock(mutex_);
  if (entries_.size() >= kMaxEntries) entries_.clear();
  entries_[view->record.uid] = {view, slice};
  return slice;
}

}  // namespace mayfly::api
