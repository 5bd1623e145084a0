// Copies of the whole disk, made by fork right after an operation: what waits in a copy is the disk
// at that moment, and becomes, as often as somebody asks, the disk after a power cut there.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "cut.hpp"

namespace disk {

// Where a disk is served, and where it receives commands and logs its copies.
struct Place {
    std::string mount, control, log;
};

inline int listen_at(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    unlink(path.c_str());
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, reinterpret_cast<sockaddr *>(&address), sizeof address) ||
        listen(listening, 64)) {
        perror(path.c_str());
        _exit(1);
    }
    return listening;
}

// The one line that a connection sends.
inline std::string command_of(int connection) {
    char line[4096];
    ssize_t size = read(connection, line, sizeof line - 1);
    return std::string(line, size > 0 ? size : 0);
}

class Copies {
   public:
    // `serve`: serves the files at a place, and reports to the descriptor that it does.
    using Serve = std::function<void(const Place &, int)>;

    Copies(Files &files, Serve serve) : files_(files), serve_(std::move(serve)) {}

    // From the operation `first` on, after each `stride`-th one, `count` in all.
    void plan(unsigned long first, unsigned long stride, unsigned long count,
              const std::string &prefix) {
        first_ = first;
        stride_ = stride ? stride : 1;
        left_ = count;
        prefix_ = prefix;
    }

    bool due() const {
        return left_ && files_.operations >= first_ &&
               (files_.operations - first_) % stride_ == 0 && files_.operations != last_;
    }

    // `what`: the operation in words; `descriptors`: what the copy must not keep open.
    void make(const std::string &what, const std::vector<int> &descriptors, FILE *log) {
        left_--;
        last_ = files_.operations;
        std::string socket = prefix_ + "." + std::to_string(files_.operations);
        timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int waiting = listen_at(socket);  // before anybody reads of it
        if (fork() == 0) {
            for (int descriptor : descriptors) close(descriptor);
            setsid();
            int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
            dup2(nothing, 1);
            dup2(nothing, 2);
            wait_at(socket, waiting);
        }
        close(waiting);
        fprintf(log, "%lu %lld.%09ld %s %s\n", files_.operations, (long long)now.tv_sec,
                now.tv_nsec, socket.c_str(), what.c_str());
        fflush(log);
    }

   private:
    Files &files_;
    Serve serve_;
    unsigned long first_ = 0, stride_ = 1, left_ = 0, last_ = 0;
    std::string prefix_;

    [[noreturn]] void wait_at(const std::string &socket, int waiting) {
        left_ = 0;
        signal(SIGCHLD, SIG_IGN);
        signal(SIGTERM, SIG_DFL);
        pollfd ready[2] = {{waiting, POLLIN, 0}, {0, 0, 0}};
        for (;;) {
            poll(ready, 2, -1);
            if (ready[1].revents) {  // whoever started the disk has ended
                unlink(socket.c_str());
                _exit(0);
            }
            int asked = accept(waiting, nullptr, nullptr);
            if (asked < 0) continue;
            std::string line = command_of(asked);
            if (line.rfind("exit", 0) == 0) {
                unlink(socket.c_str());
                dprintf(asked, "ok\n");
                _exit(0);
            }
            char mount[1024], model[64], control[1024], log[1024];
            unsigned seed;
            bool known = sscanf(line.c_str(), "serve %1023s %63s %u %1023s %1023s", mount, model,
                                &seed, control, log) == 5;
            if (!known || !MODELS.count(model)) {
                dprintf(asked, "unknown command\n");
            } else if (fork() == 0) {
                close(waiting);
                Cut(files_, model, seed).happen();
                serve_({mount, control, log}, asked);
                _exit(0);
            }
            close(asked);
        }
    }
};

}  // namespace disk
