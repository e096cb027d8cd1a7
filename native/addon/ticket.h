// Passes a wrapped object to another JavaScript thread. share() issues a ticket, which can be
// posted to the other thread. The thread that redeems the ticket owns the same object. Each type
// has its own set of tickets, so a ticket cannot be redeemed for another type.
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
class Tickets {
 public:
  /// Issues a ticket for one thread. The object lives at least until the ticket is redeemed.
  static Napi::BigInt Issue(Napi::Env env, std::shared_ptr<const T> object) {
    Open& open = Open::Shared();
    const std::lock_guard<std::mutex> lock(open.mutex);
    open.objects.emplace(++open.last, std::move(object));
    return Napi::BigInt::New(env, open.last);
  }

  /// Returns the object of a ticket.
  ///
  /// Throws a RangeError for a ticket of another type or another process, and for one that was
  /// redeemed before.
  static std::shared_ptr<const T> Redeem(const Napi::Value& ticket) {
    bool lossless = false;
    const std::uint64_t number =
        ticket.IsBigInt() ? ticket.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
    Open& open = Open::Shared();
    const std::lock_guard<std::mutex> lock(open.mutex);
    const auto found = open.objects.find(number);
    if (!lossless || found == open.objects.end()) {
      throw Napi::RangeError::New(
          ticket.Env(), "Expected a ticket of share() that was not redeemed yet, received " +
                            ticket.ToString().Utf8Value() + ". Call share() once for each thread.");
    }
    std::shared_ptr<const T> object = std::move(found->second);
    open.objects.erase(found);
    return object;
  }

 private:
  /// Tickets that were issued and not redeemed yet.
  struct Open {
    static Open& Shared() {
      static Open* const open = new Open;
      return *open;
    }
    std::mutex mutex;
    std::uint64_t last = 0;
    std::unordered_map<std::uint64_t, std::shared_ptr<const T>> objects;
  };
};

}  // namespace tandem
