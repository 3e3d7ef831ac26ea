# umk_sanitize(<target>): compiles and links <target> with the sanitizers of UMK_SANITIZE, if any.
function(umk_sanitize target)
  if(NOT UMK_SANITIZE)
    return()
  endif()
  target_compile_options(${target} PRIVATE -fsanitize=${UMK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # What a report names is lines; the rest of the debug information takes a quarter of the build's time.
  target_compile_options(${target} PRIVATE -g1)
  # The thread sanitizer does not see fences: what they order must be atomic in itself, as it is in the console's rings.
  if(UMK_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -Wno-tsan)
  endif()
  target_compile_definitions(${target} PRIVATE _GLIBCXX_ASSERTIONS)
  target_link_options(${target} INTERFACE -fsanitize=${UMK_SANITIZE})
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_options(${target} PRIVATE -fsanitize=${UMK_SANITIZE})
  endif()
endfunction()
