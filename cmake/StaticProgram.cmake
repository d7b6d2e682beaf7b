# mayfly_static_program(NAME sources... ARCHIVES targets...): a program without shared libraries, which starts in a fifth of
# the time: the dynamic loader has 57 libraries to bring together for gRPC. CMake's imported targets of Debian's packages
# are shared ones, hence the archives by their files and everything else from pkg-config.
pkg_check_modules(static_grpc REQUIRED grpc++ protobuf re2 libssl)
function(mayfly_static_program name)
  cmake_parse_arguments(ARG "" "" "ARCHIVES" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mayfly_options)
  target_include_directories(${name} SYSTEM PRIVATE ${CMAKE_BINARY_DIR}/gen)
  set(files)
  foreach(archive ${ARG_ARCHIVES})
    list(APPEND files $<TARGET_FILE:${archive}>)
    add_dependencies(${name} ${archive})
  endforeach()
  # pkg-config's list names libraries before what they need, with gaps: a group asks again until all is found.
  target_link_libraries(${name} PRIVATE -static -Wl,--start-group ${files} -lyaml-cpp ${static_grpc_STATIC_LDFLAGS}
    -Wl,--end-group)
  set_target_properties(${name} PROPERTIES LINK_DEPENDS "${files}")
endfunction()
