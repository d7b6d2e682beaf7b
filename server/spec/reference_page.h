// docs/envspec.md, made from the decoding tables.
#ifndef MAYFLY_SERVER_SPEC_REFERENCE_PAGE_H_
#define MAYFLY_SERVER_SPEC_REFERENCE_PAGE_H_

#include <string>

namespace mayfly {

// Markdown, the same bytes each time. A test compares it with the page in the tree.
std::string ReferencePage();

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_REFERENCE_PAGE_H_
