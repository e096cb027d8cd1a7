// The outcome of a core operation. No exception leaves the core; addon/ turns a Status into the
// JavaScript error.
#pragma once

#include <string>
#include <utility>

namespace tandem {

enum class StatusCode {
  kOk,
  /// A length, count or index outside its range: a RangeError in JavaScript.
  kOutOfRange,
  /// NaN, Inf or a zero vector: ERR_NON_FINITE.
  kNonFinite,
  /// Bytes that are not an index which this build can use: ERR_INDEX_INVALID.
  kIndexInvalid,
  /// The environment asks for something that the machine lacks: ERR_CONFIG_INVALID.
  kConfigInvalid,
  /// Out of memory, or a state that should not occur: ERR_INTERNAL.
  kInternal,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  static Status OutOfRange(std::string message) {
    return {StatusCode::kOutOfRange, std::move(message)};
  }
  static Status NonFinite(std::string message) {
    return {StatusCode::kNonFinite, std::move(message)};
  }
  static Status IndexInvalid(std::string message) {
    return {StatusCode::kIndexInvalid, std::move(message)};
  }
  static Status ConfigInvalid(std::string message) {
    return {StatusCode::kConfigInvalid, std::move(message)};
  }
  static Status Internal(std::string message) {
    return {StatusCode::kInternal, std::move(message)};
  }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  /// What was expected, what for, what was received, and the remedy. Empty when ok.
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

}  // namespace tandem
