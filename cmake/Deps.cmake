# Third-party packages; see docs/architecture.md for which folder may use which.
find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
pkg_check_modules(seccomp REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(pugixml REQUIRED IMPORTED_TARGET pugixml)
pkg_check_modules(re2pc REQUIRED IMPORTED_TARGET re2)  # not "re2": gRPC looks for that name itself
if(NOT MAYFLY_CORE_ONLY)
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
endif()

add_library(mayfly_absl INTERFACE)
target_link_libraries(mayfly_absl INTERFACE absl::status absl::statusor absl::strings absl::str_format absl::time
  absl::flat_hash_map absl::flat_hash_set absl::random_random)
