// One service out of its layers: built-in type, types of the envspec, the service itself.
#ifndef MAYFLY_SERVER_SPEC_MERGE_H_
#define MAYFLY_SERVER_SPEC_MERGE_H_

#include <string>
#include <vector>

#include "mayfly/spec/service_spec.h"
#include "server/spec/shape.h"

namespace mayfly {

struct Layer {
  YamlRef value;     // A map that passed CheckShape.
  std::string name;  // See Origin::layer.
};

// Later layers win key by key: maps merge, lists and scalars replace. Shorthands are spelled out ({number: 8080} for
// 8080), and keys that exclude each other leave only the highest layer's. Each leaf knows its layer.
YamlRef Merge(const Shape& shape, const std::vector<Layer>& layers);

// Every leaf of a merged tree, in order of key.
std::vector<Origin> Origins(const YamlValue& merged);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_MERGE_H_
