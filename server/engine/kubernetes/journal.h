// What the engine must know of its scopes after a crash, on this machine's disk: which kube namespaces are its own. An
// entry is written before the namespace is created, and again with its UID.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_JOURNAL_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_JOURNAL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/engine/engine.h"

namespace mayfly::kubernetes {

struct JournalEntry {
  ScopeSpec spec;
  std::string identity;  // See objects.h.
  // Of the namespace; empty while it is not known to exist. Of a given one, of what makes it this server's.
  std::string uid;
  std::string given;         // See Place.
  std::string gate_address;  // Of its relay, "IPV4:PORT"; empty: its gates call the server itself.
  bool ready = false;        // All that every namespace holds was made.
  bool destroying = false;
};

// Not thread-safe. Survives kill -9 of the server, not a loss of power.
class Journal {
 public:
  // `folder` is made where it is missing, for its owner only.
  static absl::StatusOr<Journal> Open(const std::string& folder);

  absl::Status Write(const JournalEntry& entry);
  // OK when there is none. The ledger goes first.
  absl::Status Remove(const std::string& scope);
  // For what the scope makes in a namespace that was given.
  std::string LedgerFile(const std::string& scope) const;
  // All entries that can be read; what cannot is named in `broken` (may be null) and left alone.
  absl::StatusOr<std::vector<JournalEntry>> Read(std::vector<std::string>* broken) const;

  // A value of this installation beside the entries: the one that is kept, or `fresh`, which is kept from now on.
  absl::StatusOr<std::string> Value(const std::string& name, const std::string& fresh);
  absl::Status SetValue(const std::string& name, const std::string& value);

 private:
  explicit Journal(std::string folder) : folder_(std::move(folder)) {}
  absl::Status WriteFile(const std::string& path, const std::string& text);
  std::string folder_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_JOURNAL_H_
