# umk_warnings(<target>): the warnings that all our code compiles with, as errors.
function(umk_warnings target)
  target_compile_options(
    ${target}
    PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wnon-virtual-dtor -Werror>
            # A constructor's parameter may have the name of the public field that it fills. Clang never minds that.
            $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wshadow=local>
            $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wshadow -Wthread-safety>)
endfunction()
