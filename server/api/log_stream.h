// One StreamLogs call: merges the captured output of several nodes by time, at the pace of its client.
#ifndef MAYFLY_SERVER_API_LOG_STREAM_H_
#define MAYFLY_SERVER_API_LOG_STREAM_H_

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/support/server_callback.h"
#include "mayfly/engine/interactive.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/api/call_count.h"
#include "server/api/folder_watch.h"
#include "server/api/stream_pump.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

class LogStream final : public grpc::ServerWriteReactor<v1::StreamLogsResponse>,
                        public PumpedStream,
                        public std::enable_shared_from_this<LogStream> {
 public:
  // What streams of logs work with; none is owned.
  struct Context {
    Provisioner* provisioner = nullptr;
    LogSource* logs = nullptr;
    FolderWatcher* folders = nullptr;
    StreamPump* pump = nullptr;
    CallToken token;
  };
  // `request` has been validated. Lives until gRPC is done with it.
  static grpc::ServerWriteReactor<v1::StreamLogsResponse>* Start(v1::StreamLogsRequest request, Context context);

  LogStream(v1::StreamLogsRequest request, Context context)
      : request_(std::move(request)), context_(std::move(context)) {}

  void Turn(bool stopping) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What was read of one node and is not sent yet.
  struct Cursor {
    std::string node;
    int64_t offset = 0;
    std::deque<LogLine> lines;
    bool at_end = false;  // Nothing more for now.
  };

  absl::Status Open();
  // Nodes that came since are added; after an update there may be some.
  absl::Status AddCursors(const EnvironmentView& view);
  absl::Status Fill(Cursor& cursor);
  absl::Status SkipToTail(Cursor& cursor);
  // As many lines as one message should have, in order of time.
  absl::Status Collect();
  // The cursor with the oldest line; nullptr when all are empty.
  absl::StatusOr<Cursor*> Oldest();
  bool SeeEvents();  // False when no event will follow: the environment is gone.
  void End(const grpc::Status& status);

  const v1::StreamLogsRequest request_;
  const Context context_;
  std::atomic<bool> write_done_{false};
  std::atomic<bool> broken_{false};

  // Of the pump.
  EnvironmentViewRef view_;
  std::string log_dir_;
  std::vector<Cursor> cursors_;
  std::unique_ptr<FolderWatcher::Watch> growth_;
  std::unique_ptr<EventSubscription> events_;
  v1::StreamLogsResponse response_;  // What is being written.
  bool writing_ = false;
  bool ended_ = false;
  bool deleted_ = false;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_LOG_STREAM_H_
