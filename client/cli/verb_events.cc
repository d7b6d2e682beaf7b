#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"

namespace mayfly {

// The events so far, or with --follow also those to come; one line each on standard output (-o json: one document
// each).
ExitCode VerbEvents(Session& session) {
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const Format format = session.options().format;
  if (format != Format::kTable && format != Format::kJson && format != Format::kYaml) {
    return Usage(session, "events prints -o table, json or yaml");
  }
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::GetEnvironmentRequest get;
  get.set_name(*name);
  const auto environment = (*client)->GetEnvironment(get);
  if (!environment.ok()) return session.Fail(environment.status());

  FollowRequest follow;
  follow.name = *name;
  follow.uid = environment->uid();
  follow.deadline = DeadlineFor(session.options());
  Progress before;
  follow.on_event = [&](const v1::Event& event) {
    Console& console = session.console();
    if (format == Format::kJson) {
      console.Out(ToJson(event, /*pretty=*/false));
    } else if (format == Format::kYaml) {
      console.Out(absl::StrCat("---\n", JsonToYaml(ToJson(event))));
    } else if (const std::string line = RenderEvent(before, event, console.out()); !line.empty()) {
      console.Out(line + "\n");
    }
    before.Apply(event);
  };
  if (!session.options().follow) {
    const int64_t last = environment->last_sequence();
    if (last == 0) return kExitOk;
    follow.done = [last](const Progress& progress) { return progress.last_sequence() >= last; };
  }
  const FollowResult result = Follow(session, **client, follow);
  if (result.end == FollowEnd::kDone) return kExitOk;
  return EndEarly(session, **client, follow, result, Undo{});
}

}  // namespace mayfly
