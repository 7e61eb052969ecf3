// Streams that work on a thread of their own, and events: only what is pushed to a stream by another library (nccl.cpp) is
// done later than it was asked for, and what is asked of the stream after it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace kat_host {

using Clock = std::chrono::steady_clock;

// One recording of an event.
class Moment {
public:
    void reach() {
        const std::lock_guard<std::mutex> guard(lock_);
        when_ = Clock::now();
        reached_ = true;
        changed_.notify_all();
    }
    bool reached() {
        const std::lock_guard<std::mutex> guard(lock_);
        return reached_;
    }
    void wait() {
        std::unique_lock<std::mutex> guard(lock_);
        changed_.wait(guard, [this] { return reached_; });
    }
    Clock::time_point when() {
        const std::lock_guard<std::mutex> guard(lock_);
        return when_;
    }

private:
    std::mutex lock_;
    std::condition_variable changed_;
    bool reached_ = false;
    Clock::time_point when_;
};

class Stream {
public:
    ~Stream() {
        {
            const std::lock_guard<std::mutex> guard(lock_);
            ends_ = true;
            changed_.notify_all();
        }
        if (thread_.joinable()) thread_.join();
    }

    // Does it behind all that was pushed before.
    void push(std::function<void()> work) {
        const std::lock_guard<std::mutex> guard(lock_);
        if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
        work_.push_back(std::move(work));
        changed_.notify_all();
    }

    // Does it now where nothing is pending, else behind that.
    void order(std::function<void()> work) {
        if (idle()) {
            work();
        } else {
            push(std::move(work));
        }
    }

    bool idle() {
        const std::lock_guard<std::mutex> guard(lock_);
        return work_.empty();
    }

    void wait() {
        std::unique_lock<std::mutex> guard(lock_);
        changed_.wait(guard, [this] { return work_.empty(); });
    }

private:
    void run() {
        std::unique_lock<std::mutex> guard(lock_);
        for (;;) {
            changed_.wait(guard, [this] { return ends_ || !work_.empty(); });
            if (work_.empty()) return;
            const auto work = work_.front();
            guard.unlock();
            work();
            guard.lock();
            work_.pop_front();
            changed_.notify_all();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> work_;
    bool ends_ = false;
    std::thread thread_;
};

struct Event {
    std::shared_ptr<Moment> moment;
};

}  // namespace kat_host
