// What the images of one environment stand for: each name is looked up once, when the environment begins or first names
// it, and means the same content from then on, whatever becomes of its tag. Where a registry cannot be read from here,
// the name is used as it is and the environment is told so.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_IMAGE_BOOK_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_IMAGE_BOOK_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mayfly/base/cause.h"
#include "mayfly/spec/process.h"
#include "server/engine/kubernetes/registry/registry_client.h"

namespace mayfly::kubernetes {

// A process as pods can be made of it: images by digest, and the command of an image that was to bring its own.
struct ResolvedProcess {
  ProcessSpec process;
  std::set<std::string> registries;  // That its images come from, as of registry::Reference.
  std::string note;                  // For people: what its image is pinned to, or why it is not.
  Cause refused;                     // Set: it cannot be run.
};

// Not thread-safe.
class ImageBook {
 public:
  // Name -> digest, without those that stay as they are named.
  using Told = std::function<void(const std::map<std::string, std::string>& digests)>;
  struct Source {
    // Asks the registry; the answer never comes inline and always on the book's thread.
    std::function<void(const registry::Reference&, bool with_config, registry::RegistryClient::Done)> resolve;
    std::string prefix;  // Put before names without a registry.
  };

  // `known` was pinned before and is not asked for. `told` is called with all that is known
  // whenever something has become known, before anything is made of it.
  ImageBook(Source source, std::map<std::string, std::string> known, Told told);

  // Asks for these, unless they are known: nobody waits yet.
  void Expect(const std::vector<std::string>& names);
  // `done` inline when all is known; otherwise later, unless the book is gone by then.
  void Resolve(const ProcessSpec& process, std::function<void(ResolvedProcess)> done);
  // Of the images that it names, its sidecars' among them; without a digest as far as none is known.
  std::map<std::string, std::string> DigestsOf(const ProcessSpec& process) const;

 private:
  struct Entry {
    registry::Reference reference;
    absl::Status status;  // Why it has no digest.
    std::string digest;
    bool asked = false, known = false;
    bool config_asked = false, config_known = false;
    absl::StatusOr<registry::ImageConfig> config;
    std::vector<std::function<void()>> waiting;
  };
  void Ask(const std::string& name, bool with_config);
  void OnAnswer(const std::string& name, bool with_config, const absl::StatusOr<registry::Image>& image);
  void Tell();
  ResolvedProcess Complete(ProcessSpec process);
  // Absolute paths for files that are relative to the image's working directory.
  Cause PlaceFiles(const std::string& name, ProcessSpec* process);
  Cause TakeCommand(const std::string& name, std::vector<std::string>* argv);
  Cause Use(std::string* image, std::set<std::string>* registries);

  const Source source_;
  const Told told_;
  std::map<std::string, Entry> entries_;
  std::shared_ptr<ImageBook*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_IMAGE_BOOK_H_
