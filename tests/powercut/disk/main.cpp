// A disk for tests that loses what was not synced: a FUSE file system in memory, for one user.
//
//   powercut-disk MOUNTPOINT CONTROL LOG
//
// Prints `mounted`. It ends with its mount, and its copies once the pipe at its standard input is
// closed. CONTROL is the Unix socket that it makes for commands, one line a connection:
//
//   count                             the number of operations so far
//   copies FIRST STRIDE COUNT PREFIX  makes copies of the disk (copies.hpp); each listens at
//                                     PREFIX.OPERATION, and is a line of LOG
//   own UID PATH                      gives a file to another user, as root would
//
// and of a copy:
//
//   serve MOUNTPOINT MODEL SEED CONTROL LOG   the disk after a power cut (cut.hpp), at a place
//   exit
#include <poll.h>

#include "copies.hpp"
#include "operations.hpp"

static fuse_session *session;
static FILE *copy_log;
static int control = -1;
static int answering = -1;  // the connection of a command that is worked on
static volatile sig_atomic_t stopping;
static void serve(const disk::Place &place, int answer);
static disk::Copies copies(files, serve);

static void done(const char *what, const std::function<std::string()> &where) {
    if (!copies.due()) return;
    std::vector<int> open{fuse_session_fd(session), control};
    if (answering >= 0) open.push_back(answering);
    copies.make(std::string(what) + " " + where(), open, copy_log);
}

static int give(uid_t uid, const std::string &path) {
    Id id = disk::ROOT;
    for (size_t at = 1; at <= path.size();) {
        size_t end = std::min(path.find('/', at), path.size());
        File *file = files.child(id, path.substr(at, end - at));
        if (!file) return ENOENT;
        id = file->id;
        at = end + 1;
    }
    File *file = files.find(id);
    files.operations++;
    files.touch(file);
    file->seen.uid = uid;
    file->seen.changed = disk::Files::clock();
    fuse_lowlevel_notify_inval_inode(session, id, -1, 0);  // its attributes alone
    return 0;
}

static void command() {
    answering = accept(control, nullptr, nullptr);
    if (answering < 0) return;
    std::string line = disk::command_of(answering);
    unsigned long first, stride, count;
    char text[2048];
    if (sscanf(line.c_str(), "copies %lu %lu %lu %2047s", &first, &stride, &count, text) == 4) {
        copies.plan(first, stride, count, text);
        dprintf(answering, "ok\n");
    } else if (sscanf(line.c_str(), "own %lu %2047s", &first, text) == 2) {
        int failed = give(first, text);
        dprintf(answering, "%s\n", failed ? strerror(failed) : "ok");
    } else if (line.rfind("count", 0) == 0) {
        dprintf(answering, "%lu\n", files.operations);
    } else {
        dprintf(answering, "unknown command\n");
    }
    close(answering);
    answering = -1;
}

static void serve(const disk::Place &place, int answer) {
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, [](int) { stopping = 1; });
    copy_log = fopen(place.log.c_str(), "a");
    fuse_lowlevel_ops on = operations();
    const char *given[] = {"powercut-disk", "-o",
                           "default_permissions,fsname=powercut,subtype=powercut", nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(3, const_cast<char **>(given));
    session = fuse_session_new(&arguments, &on, sizeof on, nullptr);
    if (!copy_log || !session || fuse_session_mount(session, place.mount.c_str())) {
        dprintf(answer, "not mounted\n");
        _exit(1);
    }
    control = disk::listen_at(place.control);
    dprintf(answer, "mounted\n");
    if (answer != 1) close(answer);
    fuse_buf buffer{};
    pollfd ready[2] = {{fuse_session_fd(session), POLLIN, 0}, {control, POLLIN, 0}};
    while (!stopping && !fuse_session_exited(session)) {
        if (poll(ready, 2, 1000) < 0) continue;
        if (ready[0].revents) {
            int size = fuse_session_receive_buf(session, &buffer);
            if (size == -EINTR || size == -EAGAIN) continue;
            if (size <= 0) break;
            fuse_session_process_buf(session, &buffer);
        }
        if (ready[1].revents) command();
    }
    fuse_session_unmount(session);
    _exit(0);
}

int main(int count, char **given) {
    if (count != 4) {
        fprintf(stderr, "powercut-disk MOUNTPOINT CONTROL LOG\n");
        return 2;
    }
    File *root = files.find(disk::ROOT);
    root->seen.uid = root->durable.uid = getuid();
    root->seen.gid = root->durable.gid = getgid();
    serve({given[1], given[2], given[3]}, 1);
}
