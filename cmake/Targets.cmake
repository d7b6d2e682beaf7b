# mayfly_library(NAME sources... [DEPS targets...]): one static library per folder.
function(mayfly_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC mayfly_options mayfly_absl ${ARG_DEPS})
endfunction()

# mayfly_test(NAME sources... [LABEL unit] [TIMEOUT 120] [SERIAL] [DEPS targets...]): a GoogleTest program, registered
# with CTest under its label (unit, golden, conformance, integration, e2e).
function(mayfly_test name)
  cmake_parse_arguments(ARG "SERIAL" "LABEL;TIMEOUT" "DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mayfly_options mayfly_test_support ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  set(command ${name})
  if(MAYFLY_SANITIZE MATCHES "thread")
    # GCC 12's ThreadSanitizer aborts under high-entropy address space layouts.
    set(command setarch -R $<TARGET_FILE:${name}>)
  endif()
  if(MAYFLY_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
  endif()
  add_test(NAME ${name} COMMAND ${command} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL ${ARG_SERIAL})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "MAYFLY_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
endfunction()

# mayfly_cluster_program(NAME sources... [TIMEOUT 300] [ARGS words...] [DEPS targets...]): a GoogleTest program that runs
# inside the test cluster's network with KUBECONFIG set; skipped where there is no cluster.
function(mayfly_cluster_program name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "ARGS;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mayfly_options mayfly_test_support ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND /usr/bin/python3 -B ${CMAKE_SOURCE_DIR}/tests/cluster/inside.py $<TARGET_FILE:${name}>
    ${ARG_ARGS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS cluster TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL TRUE SKIP_RETURN_CODE 77
    ENVIRONMENT "MAYFLY_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
endfunction()
