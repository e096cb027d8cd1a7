# Run as a test: each kernel object defines exactly one external symbol and no weak ones. The linker
# could pick a weak symbol for the whole addon although it was compiled for a newer CPU. Arguments:
# NM, OBJECT, SYMBOL.
execute_process(COMMAND "${NM}" --defined-only --demangle "${OBJECT}"
  OUTPUT_VARIABLE output RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "nm failed on ${OBJECT}")
endif()
string(REPLACE ";" " " output "${output}")
string(REPLACE "\n" ";" lines "${output}")
set(exported 0)
foreach(line IN LISTS lines)
  if(line MATCHES "^[0-9a-f]+ [WVvwu] ")
    message(FATAL_ERROR "Expected no weak symbol in ${OBJECT}, found: ${line}")
  elseif(line MATCHES "^[0-9a-f]+ [A-Z] ")
    math(EXPR exported "${exported} + 1")
    if(NOT line MATCHES " T tandem::${SYMBOL}\\([^()]*\\)$")
      message(FATAL_ERROR "Expected ${SYMBOL} alone to be exported by ${OBJECT}, found: ${line}")
    endif()
  endif()
endforeach()
if(NOT exported EQUAL 1)
  message(FATAL_ERROR "Expected one exported symbol in ${OBJECT}, found ${exported}")
endif()
