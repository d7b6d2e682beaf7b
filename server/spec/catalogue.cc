#include "mayfly/spec/catalogue.h"

namespace mayfly {

const ServiceSpec* Catalogue::FindService(absl::string_view service) const {
  const auto found = services.find(std::string(service));
  return found == services.end() ? nullptr : &found->second;
}

const TestJobSpec* Catalogue::FindTest(absl::string_view test) const {
  const auto found = tests.find(std::string(test));
  return found == tests.end() ? nullptr : &found->second;
}

}  // namespace mayfly
