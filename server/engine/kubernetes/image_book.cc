#include "server/engine/kubernetes/image_book.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {
namespace {

Cause ImageCause(CauseCode code, std::string message) {
  Cause cause;
  cause.code = code;
  cause.message = std::move(message);
  return cause;
}

CauseCode CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return CauseCode::kImageNotFound;
    case absl::StatusCode::kInvalidArgument:
      return CauseCode::kImageName;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return CauseCode::kRegistryAccess;
    default:
      return CauseCode::kRegistryUnreachable;
  }
}

// What the cluster cannot have another answer to. A registry that wants credentials may know the cluster's machines.
bool Final(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsInvalidArgument(status) || absl::IsPermissionDenied(status);
}

// In the words of the kubelet's verdict, see pod_cause.cc.
Cause RefusalOf(const std::string& image, const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) {
    return ImageCause(CauseCode::kImageName, absl::StrCat("'", image, "' is no name of an image"));
  }
  return ImageCause(CodeOf(status), absl::StrCat("image ", image, ": ", status.message()));
}

// Whether something of it is relative to the image's own working directory, which a pod must be told of.
bool InOwnFolder(const RenderedFile& file, const ProcessSpec& process) {
  return !absl::StartsWith(file.path, "/") && !absl::StartsWith(process.image_workdir, "/");
}

bool NeedsConfig(const ProcessSpec& process) {
  return process.argv.empty() || std::any_of(process.files.begin(), process.files.end(),
                                             [&](const RenderedFile& file) { return InOwnFolder(file, process); });
}

}  // namespace

ImageBook::ImageBook(Source source, std::map<std::string, std::string> known, Told told)
    : source_(std::move(source)), told_(std::move(told)), self_(std::make_shared<ImageBook*>(this)) {
  for (const auto& [name, digest] : known) {
    const auto reference = registry::ParseReference(ImageName(name, source_.prefix));
    if (!reference.ok() || !registry::IsDigest(digest)) continue;
    Entry& entry = entries_[name];
    entry.reference = *reference;
    entry.digest = digest;
    entry.asked = entry.known = true;
  }
}

void ImageBook::Expect(const std::vector<std::string>& names) {
  for (const std::string& name : names) Ask(name, false);
}

void ImageBook::Ask(const std::string& name, bool with_config) {
  Entry& entry = entries_[name];
  if (std::exchange(with_config ? entry.config_asked : entry.asked, true)) return;
  if (!with_config) {
    const auto reference = registry::ParseReference(ImageName(name, source_.prefix));
    if (!reference.ok()) {
      entry.status = reference.status();
      entry.known = true;
      return;
    }
    entry.reference = *reference;
  }
  registry::Reference wanted = entry.reference;
  // Of the content that is pinned, also when the tag moves in this moment.
  if (with_config && !entry.digest.empty()) wanted.digest = entry.digest;
  source_.resolve(
      wanted, with_config,
      [weak = std::weak_ptr<ImageBook*>(self_), name, with_config](const absl::StatusOr<registry::Image>& image) {
        if (const auto self = weak.lock()) (*self)->OnAnswer(name, with_config, image);
      });
}

void ImageBook::OnAnswer(const std::string& name, bool with_config, const absl::StatusOr<registry::Image>& image) {
  Entry& entry = entries_[name];
  if (with_config) {
    entry.config_known = true;
    entry.config = image.ok() ? absl::StatusOr<registry::ImageConfig>(image->config.value_or(registry::ImageConfig()))
                              : absl::StatusOr<registry::ImageConfig>(image.status());
  } else {
    entry.known = true;
    if (image.ok()) entry.digest = image->digest;
    entry.status = image.status();
  }
  // Before a pod is made of it.
  if (!with_config) Tell();
  for (const auto& fn : std::exchange(entry.waiting, {})) fn();
}

void ImageBook::Tell() {
  std::map<std::string, std::string> digests;
  for (const auto& [name, entry] : entries_) {
    if (!entry.digest.empty()) digests[name] = entry.digest;
  }
  told_(digests);
}

void ImageBook::Resolve(const ProcessSpec& process, std::function<void(ResolvedProcess)> done) {
  std::map<std::string, bool> names = {
      {process.image, NeedsConfig(process)}};  // Whether more than its digest is asked for.
  for (const Sidecar& sidecar : process.sidecars) names[sidecar.image] |= sidecar.argv.empty();
  for (const auto& [name, with_config] : names) Ask(name, false);
  for (const auto& [name, with_config] : names) {
    Entry& entry = entries_[name];
    const bool readable = entry.known && !Final(entry.status);
    if (with_config && readable) Ask(name, true);
    if (entry.known && (!with_config || !readable || entry.config_known)) continue;
    return entry.waiting.push_back([this, process, done] { Resolve(process, done); });
  }
  done(Complete(process));
}

std::map<std::string, std::string> ImageBook::DigestsOf(const ProcessSpec& process) const {
  std::map<std::string, std::string> out = {{process.image, ""}};
  for (const Sidecar& sidecar : process.sidecars) out[sidecar.image];
  for (auto& [name, digest] : out) {
    if (const auto known = entries_.find(name); known != entries_.end()) digest = known->second.digest;
  }
  return out;
}

Cause ImageBook::Use(std::string* image, std::set<std::string>* registries) {
  Entry& entry = entries_[*image];
  if (Final(entry.status)) return RefusalOf(ImageName(*image, source_.prefix), entry.status);
  registries->insert(entry.reference.registry);
  if (entry.digest.empty()) return Cause();
  registry::Reference pinned = entry.reference;
  pinned.digest = entry.digest;
  *image = pinned.Pinned();
  return Cause();
}

Cause ImageBook::TakeCommand(const std::string& name, std::vector<std::string>* argv) {
  if (!argv->empty()) return Cause();
  const Entry& entry = entries_[name];
  const std::string image = ImageName(name, source_.prefix);
  Cause cause;
  if (!entry.config.ok()) {
    cause = ImageCause(
        CodeOf(entry.config.status()),
        absl::StrCat("image ", image, ": its own command cannot be read: ", entry.config.status().message()));
  } else if (entry.config->command.empty()) {
    cause = ImageCause(CauseCode::kCommandNotFound, absl::StrCat("image ", image, " has no command of its own"));
  } else {
    *argv = entry.config->command;
    return cause;
  }
  cause.hint = "write the command down with `run:`";
  if (cause.code == CauseCode::kImageNotFound && !entry.digest.empty()) {
    cause.hint = "what had its digest is gone from the registry: push it again, or make the environment anew";
  }
  return cause;
}

Cause ImageBook::PlaceFiles(const std::string& name, ProcessSpec* process) {
  const Entry& entry = entries_[name];
  for (RenderedFile& file : process->files) {
    if (!InOwnFolder(file, *process)) continue;
    if (!entry.config.ok()) {
      Cause cause = ImageCause(
          CodeOf(entry.config.status()),
          absl::StrCat("file '", EscapeLine(file.path), "' is relative to the working directory of image ",
                       ImageName(name, source_.prefix), ", which cannot be read: ", entry.config.status().message()));
      cause.hint = "write an absolute path, or an absolute `workdir:`";
      return cause;
    }
    const std::string root = absl::StartsWith(entry.config->workdir, "/") ? entry.config->workdir : "/";
    file.path = (std::filesystem::path(root) / process->image_workdir / file.path).lexically_normal().string();
  }
  return Cause();
}

ResolvedProcess ImageBook::Complete(ProcessSpec process) {
  ResolvedProcess out;
  const std::string name = process.image;
  const std::string image = ImageName(name, source_.prefix);
  const bool own = process.argv.empty();
  out.refused = Use(&process.image, &out.registries);
  if (const Entry& entry = entries_[name]; !entry.digest.empty()) {
    out.note = absl::StrCat("image ", image, " is pinned to ", entry.digest);
  } else {
    out.note = absl::StrCat("image ", image, " is not pinned to a digest: ", entry.status.message());
  }
  if (out.refused.empty()) out.refused = TakeCommand(name, &process.argv);
  for (Sidecar& sidecar : process.sidecars) {
    const std::string its = sidecar.image;
    if (out.refused.empty()) out.refused = Use(&sidecar.image, &out.registries);
    if (out.refused.empty()) out.refused = TakeCommand(its, &sidecar.argv);
  }
  if (out.refused.empty()) out.refused = PlaceFiles(name, &process);
  if (out.refused.empty() && own) {
    const registry::ImageConfig& config = *entries_[name].config;
    if (process.image_workdir.empty() && absl::StartsWith(config.workdir, "/")) process.image_workdir = config.workdir;
    // A name of a user is known to the image only, and root is nobody here.
    const std::string user(absl::string_view(config.user).substr(0, config.user.find(':')));
    int number = 0;
    if (process.user.empty() && absl::SimpleAtoi(user, &number) && number > 0) process.user = user;
  }
  out.process = std::move(process);
  return out;
}

}  // namespace mayfly::kubernetes
