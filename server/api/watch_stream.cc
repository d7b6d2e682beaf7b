#include "server/api/watch_stream.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/api/convert.h"
#include "server/api/grpc_status.h"
#include "server/api/wire.h"

namespace mayfly::api {
namespace {

bool IsSettledState(EnvironmentState state) {
  return state == EnvironmentState::kActive || state == EnvironmentState::kFailed ||
         state == EnvironmentState::kDeleted;
}

bool IsSettled(const EnvironmentRecord& record) {
  // A verdict stands until the next tests run or the next update.
  return IsSettledState(record.state) ||
         (record.state == EnvironmentState::kDeleting && record.verdict != Verdict::kNone);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchStream::Start(v1::WatchEnvironmentRequest request,
                                                               Provisioner* provisioner, StreamPump* pump,
                                                               CallToken token) {
  auto stream = std::make_shared<WatchStream>(std::move(request), provisioner, pump, std::move(token));
  WatchStream* const reactor = stream.get();
  pump->Add(std::move(stream));
  return reactor;
}

void WatchStream::Turn(bool stopping) {
  if (ended_) return;
  if (broken_.load()) return End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
  if (stopping) return End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "server is stopping"));
  if (WaitForWrite()) return;
  if (events_ == nullptr) {
    if (const absl::Status status = Subscribe(); !status.ok()) return End(ToGrpc(status));
  } else {
    WriteNext();
  }
}

absl::Status WatchStream::Subscribe() {
  MAYFLY_ASSIGN_OR_RETURN(
      start_, request_.uid().empty() ? provisioner_->Get(request_.name()) : provisioner_->GetByUid(request_.uid()));
  if (start_->record.name != request_.name()) {
    return absl::NotFoundError(absl::StrCat("uid ", request_.uid(), " is not an environment named ", request_.name()));
  }
  const auto wake = [pump = pump_, self = weak_from_this()] { pump->Wake(self); };
  MAYFLY_ASSIGN_OR_RETURN(events_,
                          provisioner_->events().Subscribe(start_->record.uid, request_.from_sequence(), wake));
  v1::WatchEnvironmentResponse first;
  *first.mutable_environment() = ToProto(*start_, Nodes::kWithout);
  const grpc::Slice slice(first.SerializeAsString());
  const grpc::ByteBuffer message(&slice, 1);
  settled_ = IsSettled(start_->record) && request_.from_sequence() >= start_->last_sequence;
  write_ = Write::kThenTurn;
  StartWrite(&(buffer_ = message));
  return absl::OkStatus();
}

void WatchStream::WriteNext() {
  if (request_.until_settled() && settled_) return End(grpc::Status::OK);
  const std::vector<std::shared_ptr<const SharedEvent>> events = events_->Read(kBatch);
  if (events.empty()) {
    if (events_->finished()) End(grpc::Status::OK);
    return;
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(events.size());
  for (const auto& event : events) {
    slices.push_back(EventSlice(*event));
    if (!Settles(event->event)) continue;
    settled_ = true;
    if (request_.until_settled()) break;
  }
  // Only a Read that found less than it could take is called back when there is more.
  const bool more = static_cast<int>(events.size()) == kBatch || settled_ || events_->finished();
  write_ = more ? Write::kThenTurn : Write::kAlone;
  StartWrite(&(buffer_ = grpc::ByteBuffer(slices.data(), slices.size())));
}

bool WatchStream::WaitForWrite() {
  Write write = Write::kAlone;
  return write_.compare_exchange_strong(write, Write::kThenTurn) || write == Write::kThenTurn;
}

bool WatchStream::Settles(const Event& event) const {
  // What was settled before the call may have been unsettled since; only the state at the call counts for the past.
  if (event.sequence < start_->last_sequence) return false;
  if (event.sequence == start_->last_sequence) return IsSettled(start_->record);
  return event.kind == EventKind::kVerdict ||
         (event.kind == EventKind::kState && IsSettledState(event.environment_state));
}

void WatchStream::End(const grpc::Status& status) {
  ended_ = true;
  events_.reset();
  Finish(status);
}

void WatchStream::OnWriteDone(bool ok) {
  if (!ok) broken_ = true;
  if (write_.exchange(Write::kNone) == Write::kThenTurn || !ok) pump_->Wake(weak_from_this());
}

void WatchStream::OnCancel() {
  broken_ = true;
  pump_->Wake(weak_from_this());
}

void WatchStream::OnDone() {
  pump_->Remove(shared_from_this());
}

}  // namespace mayfly::api
