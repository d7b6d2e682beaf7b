#include "server/engine/kubernetes/client/lister.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/requester.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

// After that many lists that expired between their chunks, one without chunks ends it.
constexpr int kChunkedTries = 3;

class Lister : public std::enable_shared_from_this<Lister> {
 public:
  Lister(Requester& requester, ListCall call, ApiClient::Done done)
      : requester_(requester),
        call_(std::move(call)),
        what_(Describe("list", call_.collection)),
        done_(std::move(done)),
        deadline_(requester.Now() + requester.options().deadline) {}

  void Next(const std::string& continue_token) {
    const bool chunked = tries_ < kChunkedTries;
    requester_.Call(
        {.verb = "list",
         .what = what_,
         .target = Target(call_.collection, {{"labelSelector", call_.label_selector},
                                             {"fieldSelector", call_.field_selector},
                                             {"limit", chunked ? absl::StrCat(requester_.options().page) : ""},
                                             {"continue", continue_token}}),
         .deadline = deadline_},
        [self = shared_from_this(), first = continue_token.empty()](ApiReply reply) {
          self->OnChunk(std::move(reply), first);
        });
  }

 private:
  void OnChunk(ApiReply reply, bool first) {
    if (!reply.body.ok()) {
      if (!absl::IsOutOfRange(reply.body.status()) || first) return done_(std::move(reply.body).status());
      ++tries_;
      items_ = Json::array();
      return Next("");
    }
    absl::StatusOr<Json> chunk = ParseJson(*reply.body);
    if (!chunk.ok() || !ValueAt(*chunk, {"metadata"}).is_object()) {
      return done_(absl::UnavailableError(absl::StrCat(what_, ": the answer is no list")));
    }
    const std::string version = TextAt(*chunk, {"apiVersion"});
    const std::string list_kind = TextAt(*chunk, {"kind"});
    const std::string kind(absl::StripSuffix(list_kind, "List"));
    if (Json& items = (*chunk)["items"]; items.is_array()) {
      for (Json& item : items) {
        if (!item.is_object()) continue;
        item.emplace("kind", kind);
        item.emplace("apiVersion", version);
        items_.push_back(std::move(item));
      }
    }
    const std::string next = TextAt(*chunk, {"metadata", "continue"});
    if (!next.empty()) return Next(next);
    (*chunk)["items"] = std::move(items_);
    (*chunk)["metadata"].erase("remainingItemCount");
    done_(*std::move(chunk));
  }

  Requester& requester_;
  const ListCall call_;
  const std::string what_;
  const ApiClient::Done done_;
  const absl::Duration deadline_;
  Json items_ = Json::array();
  int tries_ = 0;
};

}  // namespace

void ListAll(Requester& requester, ListCall call, ApiClient::Done done) {
  std::make_shared<Lister>(requester, std::move(call), std::move(done))->Next("");
}

}  // namespace mayfly::kube
