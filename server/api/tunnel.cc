#include "server/api/tunnel.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/api/grpc_status.h"
#include "server/api/validate.h"

namespace mayfly::api {
namespace {

absl::StatusOr<NodeRef> FindRunning(const TunnelContext& context, const std::string& name, const std::string& service) {
  MAYFLY_ASSIGN_OR_RETURN(const EnvironmentViewRef view, context.provisioner->Get(name));
  MAYFLY_RETURN_IF_ERROR(CheckOwner(context.caller, name, view->record.request.owner));
  std::vector<std::string> names;
  for (const NodeView& node : view->nodes) {
    names.push_back(node.planned.name);
    if (node.planned.name != service) continue;
    if (node.state != NodeState::kReady && node.state != NodeState::kStarting) {
      return absl::FailedPreconditionError(absl::StrCat("service ", service, " of environment ", name,
                                                        " does not run: it is ", NodeStateName(node.state)));
    }
    return NodeRef{view->record.scope, service, node.attempt};
  }
  const std::string nearest = Nearest(service, names);
  return absl::NotFoundError(absl::StrCat("environment ", name, " has no service ", EscapeLine(service),
                                          nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?")));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Stream>> ExecTraits::Open(const TunnelContext& context, const Request& first,
                                                         Stream::Callbacks callbacks) {
  if (!first.has_start()) return absl::InvalidArgumentError("start: the first message names the command");
  const v1::ExecRequest::Start& start = first.start();
  MAYFLY_RETURN_IF_ERROR(Annotate(Validate(start), "start"));
  if (context.execer == nullptr) return absl::UnimplementedError("this engine cannot run commands beside a service");
  mayfly::ExecRequest request;
  MAYFLY_ASSIGN_OR_RETURN(request.node, FindRunning(context, start.name(), start.service()));
  request.argv.assign(start.command().begin(), start.command().end());
  request.terminal = start.terminal();
  if (start.columns() > 0) request.columns = start.columns();
  if (start.rows() > 0) request.rows = start.rows();
  return context.execer->Exec(request, std::move(callbacks));
}

void ExecTraits::Apply(Stream& stream, Request request) {
  switch (request.message_case()) {
    case Request::kStdin:
      stream.Write(std::move(*request.mutable_stdin()));
      break;
    case Request::kStdinClosed:
      stream.CloseWrite();
      break;
    case Request::kResize:
      stream.Resize(request.resize().columns(), request.resize().rows());
      break;
    default:
      break;
  }
}

v1::ExecResponse ExecTraits::Data(std::string bytes, bool stderr_stream) {
  Response response;
  (stderr_stream ? *response.mutable_stderr() : *response.mutable_stdout()) = std::move(bytes);
  return response;
}

std::optional<v1::ExecResponse> ExecTraits::Last(int exit_code) {
  Response response;
  response.set_exit_code(exit_code);
  return response;
}

absl::StatusOr<std::unique_ptr<Stream>> PortForwardTraits::Open(const TunnelContext& context, const Request& first,
                                                                Stream::Callbacks callbacks) {
  if (!first.has_start()) return absl::InvalidArgumentError("start: the first message names service and port");
  const v1::PortForwardRequest::Start& start = first.start();
  MAYFLY_RETURN_IF_ERROR(Annotate(Validate(start), "start"));
  if (context.connector == nullptr) return absl::UnimplementedError("this engine cannot forward ports");
  MAYFLY_ASSIGN_OR_RETURN(const NodeRef node, FindRunning(context, start.name(), start.service()));
  return context.connector->Connect(node, start.port(), std::move(callbacks));
}

void PortForwardTraits::Apply(Stream& stream, Request request) {
  if (request.has_data()) stream.Write(std::move(*request.mutable_data()));
  if (request.closed()) stream.CloseWrite();
}

v1::PortForwardResponse PortForwardTraits::Data(std::string bytes, bool) {
  Response response;
  response.set_data(std::move(bytes));
  return response;
}

std::optional<v1::PortForwardResponse> PortForwardTraits::Last(int) {
  return std::nullopt;
}

template <typename Traits>
Stream::Callbacks Tunnel<Traits>::MakeCallbacks() {
  Stream::Callbacks callbacks;
  const std::weak_ptr<Tunnel> weak = this->weak_from_this();
  callbacks.on_data = [weak](std::string bytes, bool stderr_stream) {
    const auto self = weak.lock();
    if (self == nullptr || bytes.empty()) return;
    {
      MutexLock lock(self->mutex_);
      self->queue_.push_back(Traits::Data(std::move(bytes), stderr_stream));
    }
    self->context_.pump->Wake(weak);
  };
  callbacks.window = kWindow;
  callbacks.on_written = [weak](size_t bytes) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    {
      MutexLock lock(self->mutex_);
      self->unwritten_ -= std::min(self->unwritten_, bytes);
      if (self->unwritten_ > kMaxUnwritten) return;
    }
    self->context_.pump->Wake(weak);
  };
  callbacks.on_close = [weak](absl::Status status, int exit_code) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    {
      MutexLock lock(self->mutex_);
      std::optional<Response> last = Traits::Last(exit_code);
      if (status.ok() && last) self->queue_.push_back(*std::move(last));
      self->closed_ = std::move(status);
    }
    self->context_.pump->Wake(weak);
  };
  return callbacks;
}

template <typename Traits>
absl::Status Tunnel<Traits>::TakeRequest() {
  reading_ = false;
  if (stream_ == nullptr) {
    MAYFLY_ASSIGN_OR_RETURN(stream_, Traits::Open(context_, request_, MakeCallbacks()));
    return absl::OkStatus();
  }
  {
    MutexLock lock(mutex_);
    unwritten_ += Traits::DataSize(request_);
  }
  Traits::Apply(*stream_, std::move(request_));
  return absl::OkStatus();
}

template <typename Traits>
void Tunnel<Traits>::ReadOn() {
  if (reading_) return;
  {
    MutexLock lock(mutex_);
    if (unwritten_ > kMaxUnwritten) return;
  }
  reading_ = true;
  this->StartRead(&request_);
}

template <typename Traits>
void Tunnel<Traits>::Turn(bool stopping) {
  if (ended_) return;
  if (broken_.load()) return End(absl::CancelledError("the client went away"));
  if (stopping) return End(absl::UnavailableError("server is stopping"));
  if (write_done_.exchange(false)) {
    writing_ = false;
    if (untaken_ > 0 && stream_ != nullptr) stream_->Taken(std::exchange(untaken_, 0));
  }
  if (read_done_.exchange(false)) {
    if (const absl::Status status = TakeRequest(); !status.ok()) return End(status);
  }
  ReadOn();
  if (read_ended_.load() && !std::exchange(half_closed_, true)) {
    if (stream_ == nullptr) return End(absl::InvalidArgumentError("start: the first message is missing"));
    stream_->CloseWrite();
  }
  if (writing_) return;
  Response next;
  std::optional<absl::Status> end;
  {
    MutexLock lock(mutex_);
    if (!queue_.empty()) {
      next = std::move(queue_.front());
      queue_.pop_front();
    } else if (closed_) {
      end = closed_;
    } else {
      return;
    }
  }
  if (end) return End(*end);
  Write(std::move(next));
}

template <typename Traits>
void Tunnel<Traits>::End(const absl::Status& status) {
  ended_ = true;
  stream_.reset();
  this->Finish(ToGrpc(status));
}

template class Tunnel<ExecTraits>;
template class Tunnel<PortForwardTraits>;

}  // namespace mayfly::api
