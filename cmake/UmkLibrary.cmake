# One library per folder.
#
#   umk_core_library(<name> [SOURCES file...] [IMAGE_SOURCES file...] [HOSTED_SOURCES file...]
#                    [DEPENDS library...] [TESTS x_test.cpp...] [TEST_DEPENDS library...] [THREADED])
#
# declares a folder of the core (or of the engine's resident part) twice, from the same SOURCES (.cpp, .S):
#
#   <name>_image  objects of the kernel image: freestanding, general registers only, -DUMK_IMAGE=1
#   <name>        a hosted library for unit tests, fuzzers and sanitizers, -DUMK_HOSTED=1
#   <name>_test   with TESTS: one GoogleTest program, whose cases are tests of CTest
#
# IMAGE_SOURCES and HOSTED_SOURCES belong to one side alone. DEPENDS is the list of folders whose headers this one
# includes, by library name; tools/check_layers compares it with the includes. HEADERS are included from and not linked.
# A folder without sources is header-only.
# TEST_DEPENDS are further libraries for the test alone, such as a fake of the layer below. THREADED marks tests that
# start threads; they also run under the thread sanitizer.
#
#   umk_host_library(<name> SOURCES file... [DEPENDS library...] [LIBRARIES external...] [TESTS ...] [TEST_DEPENDS ...] [THREADED])
#
# declares ordinary C++ of the monitor's side: no image, not built where UMK_HOSTED_ONLY is set unless HOSTED is given.
#
#   umk_program(<name> SOURCES file... [DEPENDS library...] [LIBRARIES external...])
#
# declares a program that is left in UMK_OUTPUT_DIR, installed, and part of the target `programs`. DEPENDS are libraries of
# ours, LIBRARIES others.
#
# Libraries may be named before they are declared: umk_link_libraries(), called once at the end, joins them.

include(GoogleTest)

# What ./dev build makes: programs, without unit tests.
add_custom_target(programs)

set(umk_image_options
    # C++ without a run-time library
    $<$<COMPILE_LANGUAGE:CXX>:-ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics>
    # Vector registers are the guest's while the kernel runs. The red zone is off since a host signal may land anywhere.
    $<$<COMPILE_LANGUAGE:CXX>:-mgeneral-regs-only -mno-red-zone>
    # Frame pointers make backtraces; nothing reads unwind tables.
    $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer -fno-asynchronous-unwind-tables>
    # The image lies above 4 GiB at a fixed address: position-relative code without GOT or PLT.
    $<$<COMPILE_LANGUAGE:CXX>:-fPIE -fno-plt -fvisibility=hidden>
    # Both would need state of the host's thread that the kernel does not have.
    $<$<COMPILE_LANGUAGE:CXX>:-fno-stack-protector -fcf-protection=none>)

# Sets <out> to those of the files that exist. One that is still to be written must not keep all other folders from being
# built: it is left out with a warning until it appears, and tools/check_layers fails as long as it is missing.
function(umk_existing out)
  set(existing "")
  foreach(file IN LISTS ARGN)
    file(GLOB found CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    if(found)
      list(APPEND existing "${file}")
    else()
      message(WARNING "${CMAKE_CURRENT_SOURCE_DIR}/${file} does not exist")
    endif()
  endforeach()
  set(${out} ${existing} PARENT_SCOPE)
endfunction()

# Enters a folder and remembers it.
macro(umk_add_folder directory)
  set_property(GLOBAL APPEND PROPERTY UMK_FOLDERS "${directory}")
  add_subdirectory("${CMAKE_SOURCE_DIR}/${directory}" "${CMAKE_BINARY_DIR}/${directory}")
endmacro()

# Remembers that <target> uses <depends>, each with <suffix> appended where such a target exists.
function(umk_defer_link target suffix visibility)
  foreach(library IN LISTS ARGN)
    set_property(GLOBAL APPEND PROPERTY UMK_LINKS "${target}|${visibility}|${library}|${suffix}")
  endforeach()
endfunction()

function(umk_link_libraries)
  get_property(links GLOBAL PROPERTY UMK_LINKS)
  foreach(link IN LISTS links)
    string(REPLACE "|" ";" parts "${link}")
    list(GET parts 0 target)
    list(GET parts 1 visibility)
    list(GET parts 2 library)
    list(GET parts 3 suffix)
    if(suffix STREQUAL "none")
      set(suffix "")
    endif()
    if(TARGET ${library}${suffix})
      target_link_libraries(${target} ${visibility} ${library}${suffix})
    else()
      message(WARNING "${target} depends on ${library}${suffix}, which no folder declares")
    endif()
  endforeach()
endfunction()

function(umk_unit_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "THREADED" "" "SOURCES;DEPENDS")
  if(UMK_THREADED_TESTS_ONLY AND NOT arg_THREADED)
    return()
  endif()
  umk_existing(sources ${arg_SOURCES})
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_include_directories(${name}_test PRIVATE "${CMAKE_SOURCE_DIR}/src")
  target_compile_definitions(${name}_test PRIVATE UMK_HOSTED=1)
  target_link_libraries(${name}_test PRIVATE GTest::gtest_main Threads::Threads)
  umk_warnings(${name}_test)
  umk_sanitize(${name}_test)
  umk_defer_link(${name}_test none PRIVATE ${arg_DEPENDS})
  gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST PROPERTIES LABELS unit)
endfunction()

function(umk_core_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "THREADED" "" "SOURCES;IMAGE_SOURCES;HOSTED_SOURCES;DEPENDS;HEADERS;TESTS;TEST_DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "umk_core_library(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()

  umk_existing(hosted_sources ${arg_SOURCES} ${arg_HOSTED_SOURCES})
  if(hosted_sources)
    add_library(${name} STATIC ${hosted_sources})
    target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}/src")
    target_compile_definitions(${name} PUBLIC UMK_HOSTED=1)
    target_link_libraries(${name} PUBLIC Threads::Threads)
    umk_warnings(${name})
    umk_sanitize(${name})
    umk_defer_link(${name} none PUBLIC ${arg_DEPENDS})
    if(UMK_THREADED_TESTS_ONLY OR NOT UMK_CORE_TESTS)
      set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE "${CMAKE_SOURCE_DIR}/src")
    target_compile_definitions(${name} INTERFACE UMK_HOSTED=1)
    umk_defer_link(${name} none INTERFACE ${arg_DEPENDS})
  endif()

  umk_existing(image_sources ${arg_SOURCES} ${arg_IMAGE_SOURCES})
  if(NOT UMK_HOSTED_ONLY AND image_sources)
    add_library(${name}_image OBJECT ${image_sources})
    target_include_directories(${name}_image PRIVATE "${CMAKE_SOURCE_DIR}/src")
    target_compile_definitions(${name}_image PRIVATE UMK_IMAGE=1)
    target_compile_options(${name}_image PRIVATE ${umk_image_options})
    set_target_properties(${name}_image PROPERTIES POSITION_INDEPENDENT_CODE OFF) # -fPIE is among the options
    umk_warnings(${name}_image)
    set_property(GLOBAL APPEND PROPERTY UMK_IMAGE_LIBRARIES ${name}_image)
  endif()

  if(arg_TESTS AND UMK_CORE_TESTS)
    set(threaded "")
    if(arg_THREADED)
      set(threaded THREADED)
    endif()
    umk_unit_test(${name} SOURCES ${arg_TESTS} DEPENDS ${name} ${arg_TEST_DEPENDS} ${threaded})
  endif()
endfunction()

function(umk_host_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "HOSTED;THREADED" "" "SOURCES;DEPENDS;HEADERS;LIBRARIES;TESTS;TEST_DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "umk_host_library(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(UMK_HOSTED_ONLY AND NOT arg_HOSTED)
    return()
  endif()
  umk_existing(sources ${arg_SOURCES})
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  target_link_libraries(${name} PUBLIC Threads::Threads ${arg_LIBRARIES})
  umk_warnings(${name})
  umk_sanitize(${name})
  umk_defer_link(${name} none PUBLIC ${arg_DEPENDS})
  if(arg_TESTS)
    set(threaded "")
    if(arg_THREADED)
      set(threaded THREADED)
    endif()
    umk_unit_test(${name} SOURCES ${arg_TESTS} DEPENDS ${name} ${arg_TEST_DEPENDS} ${threaded})
  endif()
endfunction()

function(umk_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPENDS;HEADERS;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "umk_program(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(UMK_HOSTED_ONLY)
    return()
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/src")
  target_link_libraries(${name} PRIVATE Threads::Threads ${arg_LIBRARIES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${UMK_OUTPUT_DIR}")
  target_link_options(${name} PRIVATE -pie)
  umk_warnings(${name})
  umk_defer_link(${name} none PRIVATE ${arg_DEPENDS})
  add_dependencies(programs ${name})
  install(TARGETS ${name} RUNTIME)
endfunction()
