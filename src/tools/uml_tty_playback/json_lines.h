// A record as one line of JSON.
#pragma once

#include "tools/uml_tty_playback/record.h"

namespace umk::uml_tty_playback {

/// With its newline. Bytes that are no UTF-8 are in base64, under another name: "data_base64".
std::string json_line(const Record& record);

}  // namespace umk::uml_tty_playback
