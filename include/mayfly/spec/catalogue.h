// All services and test jobs declared at one commit or in one folder; immutable once loaded.
#ifndef MAYFLY_SPEC_CATALOGUE_H_
#define MAYFLY_SPEC_CATALOGUE_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mayfly/spec/service_spec.h"

namespace mayfly {

// What a catalogue was read from: enough to read the same one again without the folder (server/spec).
struct CatalogueSource {
  std::string root;   // Absolute.
  std::string shown;  // The same as somebody named it, which positions begin with.
  std::string main;   // The file to begin with, relative to root.
  std::map<std::string, std::shared_ptr<const std::string>> files;  // Text by path relative to root.
};

struct Catalogue {
  std::string name;    // Of the envspec; the folder's name when only a service.yml was given.
  std::string root;    // Absolute folder of the envspec.yml; shown inside environments at the same path.
  std::string digest;  // Hex SHA-256 over every file read, in order of path; equal digests mean equal catalogues.
  std::map<std::string, ServiceSpec> services;  // By name.
  std::map<std::string, TestJobSpec> tests;     // By name; no name is also a service's.
  std::map<std::string, Profile> profiles;      // By name.
  // Of every file read, by the name that positions show.
  std::map<std::string, std::shared_ptr<const std::string>> texts;
  std::shared_ptr<const CatalogueSource> source;  // nullptr when nothing could be read.

  // nullptr when there is none of that name. The pointers live as long as the catalogue and are not owned.
  const ServiceSpec* FindService(absl::string_view service) const;
  const TestJobSpec* FindTest(absl::string_view test) const;
};

// A catalogue or what is wrong with it. `diagnostics` may hold warnings beside a usable catalogue; `ok()` tells.
struct LoadedCatalogue {
  Catalogue catalogue;
  Diagnostics diagnostics;
  absl::Status access;  // PERMISSION_DENIED when the source leads out of the folder that it must be below.

  bool ok() const { return access.ok() && !HasErrors(diagnostics); }
};

}  // namespace mayfly

#endif  // MAYFLY_SPEC_CATALOGUE_H_
