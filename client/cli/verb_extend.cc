#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr absl::Duration kDefaultExtension = absl::Hours(1);

}  // namespace

ExitCode VerbExtend(Session& session) {
  const auto& words = session.options().words;
  if (words.size() == 1 && !session.options().ttl.has_value() && ParseDuration(words[0]).ok()) {
    return Usage(session,
                 absl::StrCat("'", words[0], "' stands where a name does; a length is given as --ttl ", words[0]));
  }
  const auto name = session.EnvironmentName();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::GetEnvironmentRequest get;
  get.set_name(*name);
  const auto now = (*client)->GetEnvironment(get);
  if (!now.ok()) return session.Fail(now.status());
  v1::UpdateEnvironmentRequest request;
  request.mutable_environment()->set_name(*name);
  request.mutable_environment()->set_etag(now->etag());
  if (session.options().ttl.has_value()) {
    *request.mutable_environment()->mutable_ttl() = ToProto(*session.options().ttl);
    request.mutable_update_mask()->add_paths("ttl");
  } else {
    // Without a length: never less than it had.
    const absl::Time from = now->has_expire_time() ? ToTime(now->expire_time()) : absl::Now();
    *request.mutable_environment()->mutable_expire_time() = ToProto(from + kDefaultExtension);
    request.mutable_update_mask()->add_paths("expire_time");
  }
  const auto environment = (*client)->UpdateEnvironment(request);
  if (!environment.ok()) return session.Fail(environment.status());
  if (environment->has_expire_time()) {
    session.console().Note(absl::StrCat(EscapeLine(*name), " expires in ",
                                        HumanDuration(ToTime(environment->expire_time()) - absl::Now())));
  }
  if (session.options().format == Format::kTable) return kExitOk;
  return PrintEnvironment(session, *environment, /*brief=*/true);
}

}  // namespace mayfly
