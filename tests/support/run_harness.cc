#include "tests/support/run_harness.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace mayfly {

TestNode Job(std::string name, std::vector<std::string> needs) {
  return {std::move(name), std::move(needs), NodeKind::kJob};
}
TestNode TestJob(std::string name, std::vector<std::string> needs) {
  return {std::move(name), std::move(needs), NodeKind::kTestJob};
}

Plan PlanOf(const std::vector<TestNode>& nodes) {
  Plan plan;
  plan.catalogue = "cat";
  plan.root = "/src";
  for (const TestNode& given : nodes) {
    PlanNode node;
    node.name = given.name;
    node.kind = given.kind;
    node.digest = given.digest.empty() ? given.name : given.digest;
    node.expected = given.expected;
    node.process.argv = {"program"};
    node.process.probe.within = given.within;
    for (const std::string& text : given.needs) {
      absl::string_view name = text;
      PlanEdge edge;
      if (absl::ConsumeSuffix(&name, ":started")) edge.condition = Condition::kStarted;
      if (absl::ConsumeSuffix(&name, ":completed")) edge.condition = Condition::kCompleted;
      edge.node = plan.Find(name);
      if (edge.node < 0) continue;
      plan.nodes[edge.node].needed_by.push_back(plan.nodes.size());
      node.needs.push_back(edge);
    }
    plan.nodes.push_back(std::move(node));
  }
  for (auto node = plan.nodes.rbegin(); node != plan.nodes.rend(); ++node) {
    for (const int next : node->needed_by) node->priority = std::max(node->priority, plan.nodes[next].priority);
    node->priority += node->expected;
  }
  return plan;
}

absl::StatusOr<Store::Created> CrashingStore::CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) {
  if (!fuse_->Step()) return absl::UnavailableError("the server is dead");
  return store_->CreateEnvironment(std::move(record), std::move(events));
}

absl::Status CrashingStore::Write(const std::string& uid, const WriteBatch& batch) {
  if (!fuse_->Step()) return absl::UnavailableError("the server is dead");
  return store_->Write(uid, batch);
}

RunHarness::RunHarness() {
  options.state_dir = folder_.path();
  StartServer();
}

RunHarness::~RunHarness() {
  KillServer();
}

void RunHarness::StartServer() {
  world.fuse.Disarm();
  store_ = std::make_unique<CrashingStore>(&memory, &world.fuse);
  queue_ = std::make_unique<EngineEventQueue>();
  engine_ = std::make_unique<FakeEngine>(&world, queue_.get());
  engine_->usable = engine_usable;
  engine_->needs_images = needs_images;
  ProvisionerDependencies dependencies;
  dependencies.loop = &loop;
  dependencies.engine = engine_.get();
  dependencies.engine_events = queue_.get();
  dependencies.store = store_.get();
  dependencies.collector = engine_.get();
  dependencies.logs = engine_.get();
  dependencies.read_junit = read_junit;
  dependencies.worker = [this](std::function<void()> fn) { loop.Post(std::move(fn)); };
  dependencies.load = [this](const std::string& source, const std::string&) { return Load(source); };
  if (records_sources) {
    dependencies.load_recorded = [](std::shared_ptr<const CatalogueSource> source) {
      LoadedCatalogue loaded;
      loaded.catalogue.name = "cat";
      loaded.catalogue.digest = source->main;
      loaded.catalogue.source = source;
      return loaded;
    };
  }
  dependencies.plan = [this](const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities&,
                             const std::vector<Store::StartTime>&) {
    const auto read = read_.find(catalogue.digest);
    return PlanOutcome{absl::OkStatus(), read == read_.end() ? plans[request.source] : read->second, {}};
  };
  dependencies.report = [](const EnvironmentRecord&, const std::vector<Event>&) { return Report(); };
  provisioner_ = CreateProvisioner(options, std::move(dependencies));
  const absl::Status status = provisioner_->Recover();
  if (!status.ok()) ADD_FAILURE() << status;
}

LoadedCatalogue RunHarness::Load(const std::string& source) {
  LoadedCatalogue loaded;
  loaded.catalogue.name = "cat";
  loaded.catalogue.profiles = profiles;
  if (plans.count(source) == 0) {
    loaded.diagnostics.push_back({Severity::kError, {source, 1, 1}, "there is nothing here", "", ""});
    return loaded;
  }
  for (const PlanNode& node : plans[source].nodes) {
    if (node.kind == NodeKind::kTestJob) loaded.catalogue.tests[node.name].name = node.name;
  }
  if (!records_sources) return loaded;
  loaded.catalogue.digest = absl::StrCat("read ", read_.size());
  read_[loaded.catalogue.digest] = plans[source];
  auto files = std::make_shared<CatalogueSource>();
  files->root = files->shown = source;
  files->main = loaded.catalogue.digest;
  loaded.catalogue.source = files;
  return loaded;
}

void RunHarness::KillServer() {
  provisioner_.reset();
  engine_.reset();
  queue_.reset();
  store_.reset();
}

CreateOutcome RunHarness::Create(const std::string& source, Keep keep, bool allow_update) {
  EnvironmentRequest request;
  request.name = "env";
  request.source = source;
  request.keep = keep;
  CreateOptions create;
  create.allow_update = allow_update;
  return Create(std::move(request), create);
}

CreateOutcome RunHarness::Create(EnvironmentRequest request, CreateOptions create) {
  auto outcome = std::make_shared<std::optional<CreateOutcome>>();
  server().Create(std::move(request), create, [outcome](CreateOutcome given) { *outcome = std::move(given); });
  for (int i = 0; i < 100000 && !outcome->has_value(); ++i) {
    if (loop.RunReady() == 0) loop.Advance(absl::Milliseconds(1));
  }
  return outcome->value_or(CreateOutcome{absl::DeadlineExceededError("no answer"), nullptr, {}});
}

absl::StatusOr<EnvironmentViewRef> RunHarness::Await(const std::function<void(Provisioner::Done)>& call) {
  auto answer = std::make_shared<absl::StatusOr<EnvironmentViewRef>>(absl::DeadlineExceededError("no answer"));
  call([answer](absl::StatusOr<EnvironmentViewRef> given) { *answer = std::move(given); });
  loop.RunReady();
  return *answer;
}

absl::StatusOr<EnvironmentViewRef> RunHarness::Delete(const std::string& name, bool graceful) {
  return Await([&](Provisioner::Done done) { server().Delete(name, {"", "", graceful}, std::move(done)); });
}

absl::StatusOr<EnvironmentViewRef> RunHarness::Restart(const std::string& name, std::vector<std::string> services) {
  return Await([&](Provisioner::Done done) { server().Restart(name, {std::move(services), ""}, std::move(done)); });
}

absl::StatusOr<EnvironmentViewRef> RunHarness::RunTests(const std::string& name, std::vector<std::string> tests,
                                                        const std::string& request_id) {
  return Await([&](Provisioner::Done done) {
    server().RunTests(name, {.tests = std::move(tests), .request_id = request_id}, std::move(done));
  });
}

bool RunHarness::RunUntil(const std::string& name, EnvironmentState state, absl::Duration limit) {
  const absl::Duration end = loop.Monotonic() + limit;
  while (true) {
    const absl::StatusOr<EnvironmentViewRef> view = server().Get(name);
    if (view.ok() && (*view)->record.state == state) return true;
    if (!loop.Step(end - loop.Monotonic())) return false;
  }
}

EnvironmentViewRef RunHarness::View(const std::string& name) {
  const absl::StatusOr<EnvironmentViewRef> view = server().Get(name);
  return view.ok() ? *view : std::make_shared<EnvironmentView>();
}

NodeView RunHarness::Node(const std::string& name, const std::string& node) {
  for (const NodeView& view : View(name)->nodes) {
    if (view.planned.name == node) return view;
  }
  return NodeView();
}

std::vector<Event> RunHarness::Events(const std::string& name) {
  const absl::StatusOr<EnvironmentRecord> record = memory.GetEnvironment(name);
  if (!record.ok()) return {};
  return memory.ReadEvents(record->uid, 0, 1000000).value_or(std::vector<Event>());
}

std::optional<absl::Duration> RunHarness::When(const std::string& name, const std::string& node, NodeState state) {
  std::optional<absl::Duration> when;
  for (const Event& event : Events(name)) {
    if (event.kind == EventKind::kNode && event.node == node && event.node_state == state) when = event.offset;
  }
  return when;
}

}  // namespace mayfly
