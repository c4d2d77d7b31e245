# Trains the release. A second build of the program, in training/ below the first, counts which way its
# branches go and what it calls while tools/train has it serve; the first is compiled by what was
# counted, so that what is frequent lies together and runs straight through. docs/adr/0013

option(PERIGEE_TRAINED "Compile by the profile of a training run (gcc)" OFF)
if(NOT PERIGEE_TRAINED)
  function(train)
  endfunction()
  return()
endif()

include(CheckCCompilerFlag)
check_c_compiler_flag(-fprofile-prefix-path=. has_profile_prefix_path)
find_package(Python3 COMPONENTS Interpreter)
if(NOT CMAKE_C_COMPILER_ID STREQUAL GNU OR NOT has_profile_prefix_path OR CMAKE_CROSSCOMPILING
   OR NOT Python3_FOUND)
  message(FATAL_ERROR "A trained build needs gcc 12 or later, Python 3, and a program that runs here: "
                      "-DPERIGEE_TRAINED=OFF builds without (slower)")
endif()

set(training_dir ${PROJECT_BINARY_DIR}/training)
set(profile_dir ${training_dir}/profile)
set(trained ${training_dir}/trained)
file(GLOB_RECURSE training_depends CONFIGURE_DEPENDS
     ${PROJECT_SOURCE_DIR}/core/*.[ch] ${PROJECT_SOURCE_DIR}/build/deps/lua/src/*.[ch])
add_custom_command(
  OUTPUT ${trained}
  COMMENT "Training: a build that counts, and what it serves meanwhile"
  COMMAND ${CMAKE_COMMAND} --log-level=WARNING -S ${PROJECT_SOURCE_DIR} -B ${training_dir}
          -G ${CMAKE_GENERATOR} -DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM}
          -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER} -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
          -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=${CMAKE_INTERPROCEDURAL_OPTIMIZATION}
          "-DCMAKE_C_FLAGS=${CMAKE_C_FLAGS} -fprofile-generate=${profile_dir} -fprofile-prefix-path=${training_dir} -fprofile-update=atomic"
          -DCMAKE_EXE_LINKER_FLAGS=${CMAKE_EXE_LINKER_FLAGS} -DPERIGEE_TRAINED=OFF
  COMMAND ${CMAKE_COMMAND} --build ${training_dir} --target perigee
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${profile_dir}
  COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/train ${training_dir}/perigee
  COMMAND ${CMAKE_COMMAND} -E touch ${trained}
  DEPENDS ${training_depends} ${PROJECT_SOURCE_DIR}/CMakeLists.txt
          ${PROJECT_SOURCE_DIR}/tools/train ${PROJECT_SOURCE_DIR}/tests/bench/plays.py
  VERBATIM)
add_custom_target(training DEPENDS ${trained})

# train(TARGET): its sources are compiled by the profile, and anew when there is another one. What it knows
# nothing of, as without a profile; what a system's header has changed since, the same, with a warning.
function(train target)
  get_target_property(sources ${target} SOURCES)
  set_property(SOURCE ${sources} APPEND PROPERTY OBJECT_DEPENDS ${trained})
  add_dependencies(${target} training)
  target_compile_options(${target} PRIVATE
    -fprofile-use=${profile_dir} -fprofile-prefix-path=${PROJECT_BINARY_DIR}
    -fprofile-partial-training -Wno-missing-profile -Wno-error=coverage-mismatch)
endfunction()
