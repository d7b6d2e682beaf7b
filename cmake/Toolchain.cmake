# Language level, warnings, and the tools that make builds fast where they are present.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(CCACHE ccache)
if(CCACHE)
  # Paths relative to the source folder, so that clones of one tree share the cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(mayfly_options INTERFACE)
# -Wmaybe-uninitialized reports std::optional<std::string> moved in optimised code, falsely, with GCC 12.
target_compile_options(mayfly_options INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-maybe-uninitialized)
target_include_directories(mayfly_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
if(MAYFLY_SANITIZE)
  # For every target, so that no half of a program is uninstrumented. GCC's -Werror finds false positives under them.
  add_compile_options(-fsanitize=${MAYFLY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    -Wno-maybe-uninitialized -Wno-tsan)
  if(MAYFLY_SANITIZE MATCHES "undefined")
    # A null pointer ends in ASan's report anyway; these two checks double the time of a build.
    add_compile_options(-fno-sanitize=null,vptr)
  endif()
  add_link_options(-fsanitize=${MAYFLY_SANITIZE})
  # TSan's thread-local block is empty in the file; where it ends up at a page's end, mold begins the part to be protected
  # on a page that is not mapped, and the program does not start.
  add_link_options(-Wl,-z,norelro)
endif()
