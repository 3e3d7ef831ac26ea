# umk_warnings(<target>): the warnings that all our code compiles with, as errors.
function(umk_warnings target)
  target_compile_options(
    ${target}
    PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror>
            $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>)
endfunction()
