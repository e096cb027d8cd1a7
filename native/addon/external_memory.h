// What V8 is told of memory that an object holds outside its heap. Without it a server that swaps bundles keeps a dead
// index of gigabytes behind an object of a few bytes, which no garbage collection is in a hurry to find.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace tandem {

class ExternalMemory {
 public:
  /// States how many bytes are held now; 0 when they are freed.
  void Report(Napi::Env env, std::size_t bytes) {
    const auto held = static_cast<std::int64_t>(bytes);
    Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
    reported_ = held;
  }

 private:
  std::int64_t reported_ = 0;
};

}  // namespace tandem
