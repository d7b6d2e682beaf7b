#include "server/app/provisioning.h"

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/folder.h"
#include "server/obs/log.h"
#include "server/plan/file_fingerprint.h"
#include "server/plan/planner.h"
#include "server/report/junit.h"
#include "server/report/report_builder.h"
#include "server/spec/catalogue_loader.h"

namespace mayfly::app {
namespace {

PlanOutcome PlanFor(const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities& capabilities,
                    const std::vector<Store::StartTime>& measured, FileFingerprints& fingerprints) {
  std::map<std::string, absl::Duration> start_times;
  for (const Store::StartTime& time : measured) start_times[time.node] = time.start_time;
  // Of the server's own user, what a link leads to counts, too: a program in a store of packages, say.
  const std::string limit = request.source_below.empty() ? "" : catalogue.root;
  const Folder folder = Folder::Open(limit.empty() ? "/" : limit);
  const auto fingerprint = [&](const std::string& path) -> std::string {
    absl::string_view relative = path;
    if (!folder.valid() || !absl::ConsumePrefix(&relative, limit + "/")) return "";
    return fingerprints.Of(folder, relative);
  };
  PlanResult result = MakePlan(catalogue, request, capabilities, start_times, fingerprint);
  PlanOutcome outcome;
  outcome.diagnostics = WithSourceLines(std::move(result.diagnostics), catalogue);
  if (HasErrors(outcome.diagnostics)) {
    outcome.status = absl::InvalidArgumentError("the request cannot be planned");
  } else {
    outcome.plan = std::move(result.plan);
  }
  return outcome;
}

Report ReportFor(const EnvironmentRecord& record, const std::vector<Event>& events) {
  Report report = BuildReport(events);
  report.environment = record.name;
  return report;
}

absl::StatusOr<JunitCounts> CountJunit(const std::string& path) {
  const absl::StatusOr<JunitFile> file = ReadJunitFile(path);
  if (!file.ok()) return file.status();
  const JunitTotals totals = file->Totals();
  return JunitCounts{totals.tests, totals.failures, totals.errors, totals.skipped};
}

}  // namespace

std::unique_ptr<Provisioner> MakeProvisioner(const ProvisioningParts& parts) {
  Provisioner::Options options;
  options.state_dir = parts.state_dir;
  options.max_environments = parts.max_environments;
  ProvisionerDependencies dependencies;
  dependencies.loop = parts.loop;
  dependencies.engine = parts.engine;
  dependencies.engine_events = parts.engine_events;
  dependencies.store = parts.store;
  dependencies.collector = parts.collector;
  dependencies.logs = parts.logs;
  dependencies.load = [](const std::string& source, const std::string& below) { return LoadCatalogue(source, below); };
  dependencies.load_recorded = [](std::shared_ptr<const CatalogueSource> source) {
    return LoadCatalogue(std::move(source));
  };
  dependencies.plan = [fingerprints = std::make_shared<FileFingerprints>()](
                          const Catalogue& catalogue, const EnvironmentRequest& request,
                          const Capabilities& capabilities, const std::vector<Store::StartTime>& measured) {
    return PlanFor(catalogue, request, capabilities, measured, *fingerprints);
  };
  dependencies.report = ReportFor;
  dependencies.read_junit = CountJunit;
  dependencies.warn = [](absl::string_view line) { LogWarning("provisioner", {{"warning", line}}); };
  return CreateProvisioner(std::move(options), std::move(dependencies));
}

}  // namespace mayfly::app
