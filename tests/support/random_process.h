// Processes as specs may have them, made at random: for checks that must hold for whatever users write.
#ifndef MAYFLY_TESTS_SUPPORT_RANDOM_PROCESS_H_
#define MAYFLY_TESTS_SUPPORT_RANDOM_PROCESS_H_

#include <random>

#include "mayfly/spec/process.h"

namespace mayfly {

// Valid for an engine that runs images. The same for the same state of `random`.
ProcessSpec RandomProcess(std::mt19937& random);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_RANDOM_PROCESS_H_
