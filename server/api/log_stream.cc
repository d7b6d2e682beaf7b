#include "server/api/log_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/api/convert.h"
#include "server/api/grpc_status.h"

namespace mayfly::api {
namespace {

constexpr int64_t kReadBytes = 32 << 10;
constexpr size_t kMessageBytes = 48 << 10;
constexpr int64_t kMaxTail = 100000;

v1::LogLine ToProto(const std::string& node, LogLine line) {
  v1::LogLine proto;
  proto.set_node(node);
  *proto.mutable_time() = api::ToProto(line.time);
  proto.set_text(std::move(line.text));
  proto.set_stderr(line.stderr_stream);
  return proto;
}

}  // namespace

grpc::ServerWriteReactor<v1::StreamLogsResponse>* LogStream::Start(v1::StreamLogsRequest request, Context context) {
  auto stream = std::make_shared<LogStream>(std::move(request), context);
  LogStream* const reactor = stream.get();
  context.pump->Add(std::move(stream));
  return reactor;
}

void LogStream::Turn(bool stopping) {
  if (ended_) return;
  if (write_done_.exchange(false)) writing_ = false;
  if (broken_.load()) return End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
  if (stopping) return End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "server is stopping"));
  if (writing_) return;
  if (view_ == nullptr) {
    if (const absl::Status status = Open(); !status.ok()) return End(ToGrpc(status));
  }
  // Before reading: what is written after this look wakes again, and what was written before is read now.
  const bool alive = request_.follow() && SeeEvents();
  for (Cursor& cursor : cursors_) cursor.at_end = false;
  response_.Clear();
  if (const absl::Status status = Collect(); !status.ok()) return End(ToGrpc(status));
  if (response_.lines().empty() && response_.dropped_bytes() == 0) {
    if (!alive) End(grpc::Status::OK);
    return;
  }
  writing_ = true;
  StartWrite(&response_);
}

absl::Status LogStream::Open() {
  if (context_.logs == nullptr) return absl::UnimplementedError("this engine captures no output");
  MAYFLY_ASSIGN_OR_RETURN(const EnvironmentViewRef view, context_.provisioner->Get(request_.name()));
  log_dir_ = context_.provisioner->LogDir(*view);
  for (const std::string& service : request_.services()) {
    const auto is_it = [&service](const NodeView& node) { return node.planned.name == service; };
    if (std::any_of(view->nodes.begin(), view->nodes.end(), is_it)) continue;
    std::vector<std::string> names;
    for (const NodeView& node : view->nodes) names.push_back(node.planned.name);
    const std::string nearest = Nearest(service, names);
    return absl::NotFoundError(absl::StrCat("environment ", request_.name(), " has no service ", EscapeLine(service),
                                            nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?")));
  }
  const auto wake = [pump = context_.pump, self = weak_from_this()] { pump->Wake(self); };
  if (request_.follow()) {
    MAYFLY_ASSIGN_OR_RETURN(events_,
                            context_.provisioner->events().Subscribe(view->record.uid, view->last_sequence, wake));
    // Before the first read, so that nothing written in between is missed. Without inotify the events of the
    // environment still wake the stream.
    auto growth = context_.folders->Add(log_dir_, wake);
    if (growth.ok()) growth_ = *std::move(growth);
  }
  view_ = view;
  deleted_ = view->record.state == EnvironmentState::kDeleted;
  return AddCursors(*view);
}

absl::Status LogStream::AddCursors(const EnvironmentView& view) {
  const auto wanted = [this](const std::string& node) {
    const auto& services = request_.services();
    return services.empty() || std::count(services.begin(), services.end(), node) > 0;
  };
  for (const NodeView& node : view.nodes) {
    const std::string& name = node.planned.name;
    const auto is_it = [&name](const Cursor& cursor) { return cursor.node == name; };
    if (!wanted(name) || std::any_of(cursors_.begin(), cursors_.end(), is_it)) continue;
    cursors_.push_back({.node = name});
    if (request_.tail_lines() > 0) MAYFLY_RETURN_IF_ERROR(SkipToTail(cursors_.back()));
  }
  return absl::OkStatus();
}

absl::Status LogStream::SkipToTail(Cursor& cursor) {
  const auto keep = static_cast<size_t>(std::min<int64_t>(request_.tail_lines(), kMaxTail));
  while (!cursor.at_end) {
    const size_t before = cursor.lines.size();
    MAYFLY_RETURN_IF_ERROR(Fill(cursor));
    if (cursor.lines.size() == before && !cursor.at_end) continue;
    while (cursor.lines.size() > keep) cursor.lines.pop_front();
  }
  return absl::OkStatus();
}

absl::Status LogStream::Fill(Cursor& cursor) {
  absl::StatusOr<LogSource::Chunk> chunk = context_.logs->ReadLog(log_dir_, cursor.node, cursor.offset, kReadBytes);
  if (chunk.status().code() == absl::StatusCode::kNotFound) {
    cursor.at_end = true;  // It has not run yet, or never will.
    return absl::OkStatus();
  }
  MAYFLY_RETURN_IF_ERROR(chunk.status());
  // A source that makes no progress has nothing now, whatever it says.
  cursor.at_end = chunk->end || chunk->next_offset == cursor.offset;
  cursor.offset = chunk->next_offset;
  if (chunk->dropped_bytes > 0) response_.set_dropped_bytes(response_.dropped_bytes() + chunk->dropped_bytes);
  const absl::Time since = request_.has_since() ? FromProto(request_.since()) : absl::InfinitePast();
  for (LogLine& line : chunk->lines) {
    if (line.time >= since) cursor.lines.push_back(std::move(line));
  }
  return absl::OkStatus();
}

absl::StatusOr<LogStream::Cursor*> LogStream::Oldest() {
  Cursor* oldest = nullptr;
  for (Cursor& cursor : cursors_) {
    while (cursor.lines.empty() && !cursor.at_end) MAYFLY_RETURN_IF_ERROR(Fill(cursor));
    if (cursor.lines.empty()) continue;
    if (oldest == nullptr || cursor.lines.front().time < oldest->lines.front().time) oldest = &cursor;
  }
  return oldest;
}

absl::Status LogStream::Collect() {
  for (size_t bytes = 0; bytes < kMessageBytes;) {
    MAYFLY_ASSIGN_OR_RETURN(Cursor* const cursor, Oldest());
    if (cursor == nullptr) break;
    bytes += cursor->lines.front().text.size() + 32;
    *response_.add_lines() = ToProto(cursor->node, std::move(cursor->lines.front()));
    cursor->lines.pop_front();
  }
  return absl::OkStatus();
}

bool LogStream::SeeEvents() {
  constexpr int kBatch = 64;
  bool news = false;
  for (bool more = true; more;) {
    const auto events = events_->Read(kBatch);
    more = static_cast<int>(events.size()) == kBatch;
    news |= more;
    // What its platform still tells of it afterwards brings no output.
    deleted_ |= std::any_of(events.begin(), events.end(), [](const auto& shared) {
      return shared->event.kind == EventKind::kState && shared->event.environment_state == EnvironmentState::kDeleted;
    });
  }
  const absl::StatusOr<EnvironmentViewRef> now = context_.provisioner->GetByUid(view_->record.uid);
  if (now.ok() && (news || *now != view_)) {
    view_ = *now;
    static_cast<void>(AddCursors(*view_));
  }
  if (growth_ == nullptr) {
    // The folder may have come into being since.
    auto growth =
        context_.folders->Add(log_dir_, [pump = context_.pump, self = weak_from_this()] { pump->Wake(self); });
    if (growth.ok()) growth_ = *std::move(growth);
  }
  return !events_->finished() && !deleted_;
}

void LogStream::End(const grpc::Status& status) {
  ended_ = true;
  growth_.reset();
  events_.reset();
  Finish(status);
}

void LogStream::OnWriteDone(bool ok) {
  if (!ok) broken_ = true;
  write_done_ = true;
  context_.pump->Wake(weak_from_this());
}

void LogStream::OnCancel() {
  broken_ = true;
  context_.pump->Wake(weak_from_this());
}

void LogStream::OnDone() {
  context_.pump->Remove(shared_from_this());
}

}  // namespace mayfly::api
