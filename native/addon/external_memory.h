// Tells V8 how much memory an object holds outside V8's heap. Without it, a server that swaps
// bundles keeps dead indexes of several gigabytes: V8 sees objects of a few bytes and does not
// hurry to collect them.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace tandem {

class ExternalMemory {
 public:
  /// Reports how many bytes the object holds now; 0 after they are freed.
  void Report(Napi::Env env, std::size_t bytes) {
    const auto held = static_cast<std::int64_t>(bytes);
    Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
    reported_ = held;
  }

 private:
  std::int64_t reported_ = 0;
};

}  // namespace tandem
