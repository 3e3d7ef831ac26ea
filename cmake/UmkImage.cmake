# The kernel image, the embedded root, and how the monitor carries both.
#
#   umk_embed(<target> <symbol> <file> [DEPENDS target...])
#
# puts the bytes of <file> into <target>, 4096-aligned and read-only, from `<symbol>_begin` to `<symbol>_end`
# (extern "C" const unsigned char arrays).
#
#   umk_embed_kernel(<target>)    embeds build/vmumk, with symbols and what backtraces need, and without other debug information, as
#                                 umk_kernel_image_{begin,end}
#   umk_embed_root(<target>)      embeds build/initramfs.cpio.gz as umk_root_archive_{begin,end}
#
#   umk_kernel_image()            links all *_image libraries to build/vmumk; called once, at the end

set(umk_kernel_script "${CMAKE_SOURCE_DIR}/src/engine/image/kernel.ld")
set(umk_kernel_file "${UMK_OUTPUT_DIR}/vmumk")
set(umk_kernel_stripped "${CMAKE_BINARY_DIR}/vmumk.stripped")
set(umk_root_file "${UMK_OUTPUT_DIR}/initramfs.cpio.gz")

function(umk_embed target symbol file)
  cmake_parse_arguments(PARSE_ARGV 3 arg "" "" "DEPENDS")
  set(source "${CMAKE_CURRENT_BINARY_DIR}/${symbol}.S")
  file(
    CONFIGURE
    OUTPUT "${source}"
    CONTENT
      [[
  .section .rodata
  .globl @symbol@_begin, @symbol@_end
  .balign 4096
@symbol@_begin:
  .incbin "@file@"
@symbol@_end:
  .byte 0
  .section .note.GNU-stack, "", %progbits
]]
    @ONLY)
  set_source_files_properties("${source}" PROPERTIES OBJECT_DEPENDS "${file};${source}")
  target_sources(${target} PRIVATE "${source}")
  if(arg_DEPENDS)
    add_dependencies(${target} ${arg_DEPENDS})
  endif()
endfunction()

function(umk_embed_kernel target)
  umk_embed(${target} umk_kernel_image "${umk_kernel_stripped}" DEPENDS vmumk_stripped)
endfunction()

function(umk_embed_root target)
  umk_embed(${target} umk_root_archive "${umk_root_file}" DEPENDS initramfs)
endfunction()

function(umk_kernel_image)
  get_property(libraries GLOBAL PROPERTY UMK_IMAGE_LIBRARIES)
  if(NOT EXISTS "${umk_kernel_script}" OR NOT libraries)
    message(STATUS "No kernel image: ${umk_kernel_script} does not exist yet")
    return()
  endif()
  set(objects "")
  foreach(library IN LISTS libraries)
    list(APPEND objects $<TARGET_OBJECTS:${library}>)
  endforeach()
  add_executable(vmumk ${objects})
  set_target_properties(
    vmumk
    PROPERTIES LINKER_LANGUAGE CXX
               RUNTIME_OUTPUT_DIRECTORY "${UMK_OUTPUT_DIR}"
               POSITION_INDEPENDENT_CODE OFF
               LINK_DEPENDS "${umk_kernel_script}")
  target_link_options(
    vmumk
    PRIVATE
    -nostdlib
    -static
    -no-pie
    -Wl,--no-relax
    -Wl,-z,noexecstack
    -Wl,--build-id=none
    -Wl,--fatal-warnings
    -T
    "${umk_kernel_script}")
  # For division of 128-bit numbers alone; tools/check_image looks at what it brings.
  target_link_libraries(vmumk PRIVATE gcc)
  add_dependencies(programs vmumk)

  add_custom_command(
    OUTPUT "${umk_kernel_stripped}"
    COMMAND "${CMAKE_OBJCOPY}" --strip-debug --keep-section=.debug_frame "${umk_kernel_file}" "${umk_kernel_stripped}"
    DEPENDS vmumk
    VERBATIM)
  add_custom_target(vmumk_stripped DEPENDS "${umk_kernel_stripped}")
endfunction()
