// Finding and reading spec files below one root folder, and nothing outside of it.
#ifndef MAYFLY_SERVER_SPEC_SPEC_FILES_H_
#define MAYFLY_SERVER_SPEC_SPEC_FILES_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mayfly/spec/catalogue.h"
#include "server/base/folder.h"
#include "server/spec/sink.h"

namespace mayfly {

class SpecFiles {
 public:
  // `path` is a folder or a spec file. Problems (missing, empty, unreadable) go to the sink; then main() is empty.
  // `below` as for LoadCatalogue.
  SpecFiles(absl::string_view path, absl::string_view below, Sink& sink);
  // As they were recorded; nothing on the disk is looked at.
  explicit SpecFiles(std::shared_ptr<const CatalogueSource> recorded);

  const absl::Status& access() const { return access_; }  // As LoadedCatalogue's.
  // Absolute, symbolic links resolved.
  const std::string& root() const { return recorded_ != nullptr ? recorded_->root : root_.path(); }
  const std::string& main() const { return main_; }  // The file to begin with, relative to root.
  bool main_is_service() const { return main_is_service_; }

  // The text of a file below the root, by its path relative to it; nullptr when there is none or it cannot be read,
  // which is an error at `wanted` ("" and 0 for the file itself). Symbolic links that lead out of the root, files that
  // are not ordinary and files over the limit are refused. What was checked is what is read: the root is held open.
  SourceFileRef Read(const std::string& relative, const SourcePos& wanted, Sink& sink);

  bool Exists(const std::string& relative) const;

  // Folders below the root that match "services/*", relative to it and sorted; hidden ones are left out.
  std::vector<std::string> Folders(const std::string& pattern) const;

  // What somebody does about a folder without a spec: rename a service.yaml, write a first service.yml.
  std::string HintForFolder(const std::string& folder) const;

  // How `relative` is shown to the user: behind the path as the user gave it.
  std::string Shown(const std::string& relative) const;

  // SHA-256 over the paths and texts of all files read so far.
  std::string Digest() const;

  // All files read so far.
  std::shared_ptr<const CatalogueSource> Source() const;

  // Of all files read so far, by the name that is shown.
  std::map<std::string, std::shared_ptr<const std::string>> Texts() const;

 private:
  void OpenRoot(const std::string& given, Sink& sink);
  void OpenRootBelow(const std::string& given, Sink& sink);
  void Missing(const std::string& given, Sink& sink);  // With errno.
  void ChooseMain(const std::string& given, Sink& sink);
  bool IsFolder(const std::string& relative) const;
  std::vector<std::string> Entries(const std::string& relative) const;

  const std::string below_;
  const std::shared_ptr<const CatalogueSource> recorded_;
  absl::Status access_;
  Folder root_;
  std::string shown_root_;
  std::string main_;
  bool main_is_service_ = false;
  std::map<std::string, SourceFileRef> read_;  // By relative path.
};

// `folder` and `name` with one '/' between; `name` when `folder` is empty or ".".
std::string JoinPath(absl::string_view folder, absl::string_view name);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SPEC_FILES_H_
