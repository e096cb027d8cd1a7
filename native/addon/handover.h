// Hands what an object wraps to another JavaScript thread: share() puts it here and gives a ticket, which can be posted; whoever
// redeems the ticket owns the same object. Each type has a desk of its own, so that a ticket cannot be redeemed for another.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace tandem {

template <class T>
class Handover {
 public:
  /// A ticket for one thread; until it is redeemed the object lives.
  static Napi::BigInt Put(Napi::Env env, std::shared_ptr<const T> object) {
    Desk& desk = Desk::Shared();
    const std::lock_guard<std::mutex> lock(desk.mutex);
    desk.objects.emplace(++desk.last, std::move(object));
    return Napi::BigInt::New(env, desk.last);
  }

  /// Throws RangeError for a ticket that is not of this type, was redeemed before, or of another process.
  static std::shared_ptr<const T> Redeem(const Napi::Value& ticket) {
    bool lossless = false;
    const std::uint64_t number =
        ticket.IsBigInt() ? ticket.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
    Desk& desk = Desk::Shared();
    const std::lock_guard<std::mutex> lock(desk.mutex);
    const auto found = desk.objects.find(number);
    if (!lossless || found == desk.objects.end()) {
      throw Napi::RangeError::New(
          ticket.Env(), "Expected a ticket of share() that was not redeemed yet, received " +
                            ticket.ToString().Utf8Value() + ". Call share() once for each thread.");
    }
    std::shared_ptr<const T> object = std::move(found->second);
    desk.objects.erase(found);
    return object;
  }

 private:
  struct Desk {
    static Desk& Shared() {
      static Desk* const desk = new Desk;
      return *desk;
    }
    std::mutex mutex;
    std::uint64_t last = 0;
    std::unordered_map<std::uint64_t, std::shared_ptr<const T>> objects;
  };
};

}  // namespace tandem
