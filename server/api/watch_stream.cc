#include "server/api/watch_stream.h"

#include <utility>
#include <vector>

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

void WatchStream::Expect() {
  context_.AsyncNotifyWhenDone(&gone_step_);
  queue_->context().request(&context_, &raw_, &writer_, queue_->queue(), &called_);
}

void WatchStream::OnCalled(bool ok) {
  // The server ends, and no call came: gRPC does not tell that this one is gone.
  if (!ok) return queue_->Remove(shared_from_this());
  called_yet_ = true;
  token_ = queue_->context().calls->Enter();
  queue_->Expect();
  absl::StatusOr<v1::WatchEnvironmentRequest> request = queue_->context().admit(context_, raw_);
  raw_.Clear();
  if (!request.ok()) return End(ToGrpc(request.status()));
  request_ = *std::move(request);
  Turn();
}

void WatchStream::Turn() {
  if (!called_yet_ || ended_) return;
  if (writing_) {
    again_ = true;
    return;
  }
  if (broken_) return End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
  if (queue_->stopping()) return End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "server is stopping"));
  if (events_ == nullptr) {
    if (const absl::Status status = Subscribe(); !status.ok()) return End(ToGrpc(status));
  } else {
    WriteNext();
  }
}

absl::Status WatchStream::Subscribe() {
  Provisioner& provisioner = *queue_->context().provisioner;
  MAYFLY_ASSIGN_OR_RETURN(start_, FindEnvironment(provisioner, request_.name(), request_.uid()));
  const auto wake = [queue = queue_, self = weak_from_this()] { queue->Wake(self); };
  MAYFLY_ASSIGN_OR_RETURN(events_, provisioner.events().Subscribe(start_->record.uid, request_.from_sequence(), wake));
  v1::WatchEnvironmentResponse first;
  *first.mutable_environment() = ToProto(*start_, Nodes::kWithout);
  deleted_ = start_->record.state == EnvironmentState::kDeleted;
  settled_ = IsSettled(start_->record) && request_.from_sequence() >= start_->last_sequence;
  const grpc::Slice slice(first.SerializeAsString());
  again_ = true;
  Write(grpc::ByteBuffer(&slice, 1));
  return absl::OkStatus();
}

void WatchStream::WriteNext() {
  if (request_.until_settled() && settled_) return End(grpc::Status::OK);
  const std::vector<std::shared_ptr<const SharedEvent>> events = events_->Read(kBatch);
  if (events.empty()) {
    // What the platform still tells of it then is for those who asked.
    if (events_->finished() || (deleted_ && !request_.until_gone())) End(grpc::Status::OK);
    return;
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(events.size());
  for (const auto& event : events) {
    slices.push_back(EventSlice(*event));
    if (event->event.kind == EventKind::kState && event->event.environment_state == EnvironmentState::kDeleted) {
      deleted_ = true;
    }
    if (!Settles(event->event)) continue;
    settled_ = true;
    if (request_.until_settled()) break;
  }
  // Only a Read that found less than it could take is called back when there is more.
  again_ = static_cast<int>(events.size()) == kBatch || settled_ || deleted_ || events_->finished();
  Write(grpc::ByteBuffer(slices.data(), slices.size()));
}

void WatchStream::Write(const grpc::ByteBuffer& message) {
  writing_ = true;
  writer_.Write(message, &written_);
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
  writer_.Finish(status, &finished_step_);
}

void WatchStream::OnWritten(bool ok) {
  writing_ = false;
  if (!ok) broken_ = true;
  if (std::exchange(again_, false) || broken_) Turn();
}

void WatchStream::OnGone(bool) {
  gone_ = broken_ = true;
  Turn();
  RemoveIfDone();
}

void WatchStream::OnFinished(bool) {
  finished_ = true;
  RemoveIfDone();
}

void WatchStream::RemoveIfDone() {
  if (finished_ && gone_) queue_->Remove(shared_from_this());
}

}  // namespace mayfly::api
