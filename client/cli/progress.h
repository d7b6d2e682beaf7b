// What a watcher knows about an environment: a fold of its events, and how that looks. Pure: no clock, no terminal.
#ifndef MAYFLY_CLIENT_CLI_PROGRESS_H_
#define MAYFLY_CLIENT_CLI_PROGRESS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/console.h"
#include "mayfly/base/cause.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly {

struct ProgressRow {
  std::string name;
  v1::Node::Kind kind = v1::Node::SERVICE;
  v1::Node::State state = v1::Node::WAITING;
  absl::Duration since;  // Offset at which this state began.
  absl::Duration launched;
  absl::Duration took;  // Launch to ready or completed; zero until then.
  int attempt = 0;
  v1::Cause cause;
  std::string note;  // The latest message about it.
  std::vector<std::string> urls;
  std::vector<std::string> needs;
};

class Progress {
 public:
  void Apply(const v1::Event& event);

  const std::vector<ProgressRow>& rows() const { return rows_; }  // In the plan's order.
  v1::Environment::State state() const { return state_; }
  v1::Verdict verdict() const { return verdict_; }
  int64_t verdict_sequence() const { return verdict_sequence_; }  // Of the event that brought the verdict.
  const v1::Cause& cause() const { return cause_; }               // Of the verdict or the failed state.
  bool has_receipt() const { return has_receipt_; }
  const v1::Receipt& receipt() const { return receipt_; }
  bool gone() const { return gone_; }  // From the platform, too, where the receipt named something.
  int64_t last_sequence() const { return last_sequence_; }
  absl::Duration last_offset() const { return last_offset_; }
  absl::Time last_time() const { return last_time_; }
  // Offset of the event that made the environment ACTIVE (again); negative before.
  absl::Duration active_after() const { return active_after_; }
  int Count(v1::Node::State state, v1::Node::Kind kind) const;

 private:
  ProgressRow& Row(const std::string& name);
  void ApplyPlan(const v1::Event& event);

  std::vector<ProgressRow> rows_;
  std::map<std::string, size_t> index_;
  v1::Environment::State state_ = v1::Environment::CREATING;
  v1::Verdict verdict_ = v1::VERDICT_UNSPECIFIED;
  int64_t verdict_sequence_ = 0;
  v1::Cause cause_;
  bool has_receipt_ = false;
  v1::Receipt receipt_;
  bool gone_ = false;
  int64_t last_sequence_ = 0;
  absl::Duration last_offset_;
  absl::Time last_time_ = absl::InfinitePast();
  absl::Duration active_after_ = -absl::Seconds(1);
};

// The block that is redrawn on a terminal: a line about the environment, then one per node. Every line fits look.width;
// when there are more nodes than look.height allows, those that move or failed come first and a last line counts the
// others. `offset` is now, since acceptance; `tick` counts redraws and turns the spinner.
std::vector<std::string> RenderFrame(const Progress& progress, absl::string_view environment, const Look& look,
                                     absl::Duration offset, int tick);

// The line for one event where nothing is redrawn; "" when it is not worth one. `before` is the fold up to it.
std::string RenderEvent(const Progress& before, const v1::Event& event, const Look& look);

// "3 ready, 1 starting, 17 waiting".
std::string CountNodes(const Progress& progress);

// "63 processes, 42 mounts, 21 networks in 24 ms", or what blocks.
std::string DescribeReceipt(const v1::Receipt& receipt);

Cause CauseOf(const v1::Cause& cause);

// The whole story of a failure, for people: the cause, advice, the evidence (escaped), and how to go on.
std::vector<std::string> DescribeFailure(const v1::Cause& cause, absl::string_view environment, const Look& look);

// Words of the API as people read them: "service", "test job"; "READY".
std::string KindWord(v1::Node::Kind kind);
std::string VerdictWord(v1::Verdict verdict);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_PROGRESS_H_
