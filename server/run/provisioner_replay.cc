// An environment made again as it was: from the files that were recorded with it, and from the images that it had,
// wherever their tags point by now.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/run/provisioner_impl.h"
#include "server/store/source_codec.h"

namespace mayfly {
namespace {

absl::Status NotAgain(const EnvironmentRecord& record, absl::string_view why) {
  return absl::NotFoundError(absl::StrCat("'", record.name, "' cannot be made again as it was: ", why,
                                          "; `mayfly up -f ", EscapeLine(record.request.source),
                                          "` makes one of what is there now"));
}

EnvironmentRequest Again(const EnvironmentRecord& record, const EnvironmentRequest& request) {
  EnvironmentRequest again = record.request;
  again.request_id = request.request_id;
  again.name = request.name.empty() ? record.name : request.name;
  again.keep = request.keep;
  again.owner = request.owner;
  again.secrets = request.secrets;
  if (request.ttl.has_value()) again.ttl = request.ttl;
  if (!request.labels.empty()) again.labels = request.labels;
  again.test_requests.clear();
  return again;
}

}  // namespace

void ProvisionerImpl::Replay(EnvironmentRequest request, const CreateOptions& options, CreateReply reply) {
  const absl::StatusOr<EnvironmentViewRef> view = views_.Get(options.replay);
  if (!view.ok()) return reply.Fail(view.status());
  const EnvironmentRecord& record = (*view)->record;
  if (!options.any_owner && record.request.owner != request.owner) {
    return reply.Fail(absl::PermissionDeniedError(absl::StrCat("environment '", record.name, "' belongs to ",
                                                               EscapeLine(record.request.owner), " and you are ",
                                                               EscapeLine(request.owner))));
  }
  const std::string engine = EscapeLine(record.request.engine);
  if (record.request.engine != capabilities_.engine) {
    return reply.Fail(absl::FailedPreconditionError(absl::StrCat("'", record.name, "' ran on the ", engine,
                                                                 " engine, and this server's is ", capabilities_.engine,
                                                                 ": ask that server, as with --engine ", engine)));
  }
  const absl::StatusOr<std::string> kept = dependencies_.store->ReadSource(record.uid);
  if (!kept.ok()) return reply.Fail(kept.status());
  if (kept->empty()) {
    return reply.Fail(NotAgain(record, "its specs were not recorded (an older server made it, or they are too large)"));
  }
  const auto source = DecodeSource(*kept);
  if (!source.ok()) return reply.Fail(NotAgain(record, source.status().message()));
  CreateOptions fresh = options;
  fresh.allow_update = false;
  PlanReplay(record, Again(record, request), fresh, *source, std::move(reply));
}

void ProvisionerImpl::PlanReplay(const EnvironmentRecord& record, EnvironmentRequest again,
                                 const CreateOptions& options, std::shared_ptr<const CatalogueSource> source,
                                 CreateReply reply) {
  dependencies_.worker([this, record, again = std::move(again), options, source, reply] {
    const auto loaded = std::make_shared<const LoadedCatalogue>(dependencies_.load_recorded(source));
    loop_->Post([this, record, again, options, reply, loaded] {
      LoadAndPlan(again, loaded, [this, record, again, options, reply](Planned planned) {
        if (planned.outcome.status.ok()) {
          const absl::Status known = CheckImages(again, record, planned.outcome.plan);
          if (!known.ok()) return reply.Fail(known);
        }
        Decide(again, options, reply, std::move(planned));
      });
    });
  });
}

std::string ProvisionerImpl::ReplayNote(const std::string& former, const Live& live) const {
  if (capabilities_.needs_images) return absl::StrCat("this is '", former, "' again, by its specs and images of then");
  // Without images, what a process is made of lies on this machine.
  return absl::StrCat("this is '", former, "' again by its specs of then only: programs and files below ",
                      EscapeLine(live.orchestrator->plan().root), " are run as they are now");
}

absl::Status ProvisionerImpl::CheckImages(const EnvironmentRequest& again, const EnvironmentRecord& former,
                                          const Plan& plan) const {
  if (!capabilities_.needs_images) return absl::OkStatus();
  for (const PlanNode& node : plan.nodes) {
    std::vector<std::string> images = {node.process.image};
    for (const Sidecar& sidecar : node.process.sidecars) images.push_back(sidecar.image);
    for (const std::string& image : images) {
      if (absl::StrContains(image, "@sha256:") || again.images.count(image) > 0) continue;
      return NotAgain(former, absl::StrCat("no digest was recorded of image ", EscapeLine(image), " of ", node.name,
                                           ", because its registry could not be read or it never came to that"));
    }
  }
  return absl::OkStatus();
}

}  // namespace mayfly
