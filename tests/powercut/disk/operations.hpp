// What programs do to the files of the disk: the operations of FUSE, one at a time.
#pragma once
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/statvfs.h>

#include <functional>

#include "files.hpp"

using disk::Binding;
using disk::File;
using disk::Id;
using disk::NOTHING;

static disk::Files files;

static constexpr double CACHED = 1;  // seconds that the kernel keeps names and attributes

// An operation ended, `where` says of what: the moment at which copies are made.
static void done(const char *what, const std::function<std::string()> &where);

// ------------------------------------------------------------------------------------ helpers
static std::string path_of(Id folder) {
    std::string path;
    for (int depth = 0; folder != disk::ROOT && depth < 300; depth++) {
        File *here = files.find(folder);
        std::string name = "?";
        for (auto &entry : files.find(here->parent)->names)
            if (entry.second == folder) name = entry.first;
        path = "/" + name + path;
        folder = here->parent;
    }
    return path;
}

static std::string any_path_of(Id id) {
    File *file = files.find(id);
    if (!file) return "?";
    if (file->is_folder()) return path_of(id) + "/";
    for (auto &folder : files.all)
        for (auto &entry : folder.second->names)
            if (entry.second == id) return path_of(folder.first) + "/" + entry.first;
    return "(no name)";
}

static auto named(Id folder, const char *name) {
    return [=] { return path_of(folder) + "/" + name; };
}
static auto file_of(Id id) {
    return [=] { return any_path_of(id); };
}

static struct stat status_of(const File *file) {
    struct stat status{};
    status.st_ino = file->id;
    status.st_mode = file->seen.mode;
    status.st_uid = file->seen.uid;
    status.st_gid = file->seen.gid;
    status.st_rdev = file->seen.device;
    status.st_atim = status.st_mtim = file->seen.modified;
    status.st_ctim = file->seen.changed;
    status.st_nlink = file->is_folder() ? 2 : file->links;
    status.st_size = file->is_folder() ? disk::BLOCK
                     : S_ISLNK(file->seen.mode) ? file->target.size()
                                                : file->bytes.size();
    status.st_blksize = disk::BLOCK;
    status.st_blocks = (status.st_size + disk::BLOCK - 1) / disk::BLOCK * 8;
    return status;
}

static fuse_entry_param entry_of(const File *file) {
    fuse_entry_param entry{};
    entry.ino = file->id;
    entry.attr = status_of(file);
    entry.attr_timeout = entry.entry_timeout = CACHED;
    return entry;
}

static void reply_entry(fuse_req_t request, const File *file) {
    fuse_entry_param entry = entry_of(file);
    fuse_reply_entry(request, &entry);
}

static File *make(fuse_req_t request, Id folder, const char *name, mode_t mode) {
    if (files.child(folder, name)) {
        fuse_reply_err(request, EEXIST);
        return nullptr;
    }
    files.operations++;
    const fuse_ctx *caller = fuse_req_ctx(request);
    File *file = files.add(folder, mode, caller->uid, caller->gid);
    files.change({Binding{folder, name, file->id}});
    return file;
}

static void empty(File *file) {
    files.operations++;
    files.touch(file);
    files.resize(file, 0);
}

// --------------------------------------------------------------------------------- operations
static void on_init(void *, fuse_conn_info *connection) {
    // Bytes and names come through this kernel alone, and are here as soon as a call returns.
    connection->want &= ~(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS);
}

static void on_lookup(fuse_req_t request, Id folder, const char *name) {
    File *file = files.child(folder, name);
    if (file) reply_entry(request, file);
    else fuse_reply_err(request, ENOENT);
}

static void on_forget(fuse_req_t request, Id, uint64_t) { fuse_reply_none(request); }

static void on_getattr(fuse_req_t request, Id id, fuse_file_info *) {
    File *file = files.find(id);
    if (!file) return void(fuse_reply_err(request, ENOENT));
    struct stat status = status_of(file);
    fuse_reply_attr(request, &status, CACHED);
}

static void on_setattr(fuse_req_t request, Id id, struct stat *wanted, int which, fuse_file_info *) {
    File *file = files.find(id);
    if (!file) return void(fuse_reply_err(request, ENOENT));
    files.operations++;
    files.touch(file);
    if (which & FUSE_SET_ATTR_MODE)
        file->seen.mode = (file->seen.mode & S_IFMT) | (wanted->st_mode & 07777);
    if (which & FUSE_SET_ATTR_UID) file->seen.uid = wanted->st_uid;
    if (which & FUSE_SET_ATTR_GID) file->seen.gid = wanted->st_gid;
    if (which & FUSE_SET_ATTR_SIZE) files.resize(file, wanted->st_size);
    if (which & FUSE_SET_ATTR_MTIME_NOW) file->seen.modified = disk::Files::clock();
    else if (which & FUSE_SET_ATTR_MTIME) file->seen.modified = wanted->st_mtim;
    file->seen.changed = disk::Files::clock();
    struct stat status = status_of(file);
    fuse_reply_attr(request, &status, CACHED);
    done("setattr", file_of(id));
}

static void on_readlink(fuse_req_t request, Id id) {
    fuse_reply_readlink(request, files.find(id)->target.c_str());
}

static void on_mknod(fuse_req_t request, Id folder, const char *name, mode_t mode, dev_t device) {
    File *file = make(request, folder, name, mode);
    if (!file) return;
    file->seen.device = file->durable.device = device;
    reply_entry(request, file);
    done("mknod", named(folder, name));
}

static void on_mkdir(fuse_req_t request, Id folder, const char *name, mode_t mode) {
    File *file = make(request, folder, name, S_IFDIR | mode);
    if (!file) return;
    reply_entry(request, file);
    done("mkdir", named(folder, name));
}

static void on_symlink(fuse_req_t request, const char *to, Id folder, const char *name) {
    File *file = make(request, folder, name, S_IFLNK | 0777);
    if (!file) return;
    file->target = to;
    reply_entry(request, file);
    done("symlink", named(folder, name));
}

static void on_create(fuse_req_t request, Id folder, const char *name, mode_t mode,
                      fuse_file_info *opened) {
    File *file = files.child(folder, name);
    if (file && (opened->flags & O_EXCL)) return void(fuse_reply_err(request, EEXIST));
    if (!file) file = make(request, folder, name, S_IFREG | (mode & 07777));
    else if (opened->flags & O_TRUNC) empty(file);
    if (!file) return;
    fuse_entry_param entry = entry_of(file);
    fuse_reply_create(request, &entry, opened);
    done("create", named(folder, name));
}

static void remove_name(fuse_req_t request, Id folder, const char *name, const char *what) {
    files.operations++;
    files.change({Binding{folder, name, NOTHING}});
    fuse_reply_err(request, 0);
    done(what, named(folder, name));
}

static void on_unlink(fuse_req_t request, Id folder, const char *name) {
    File *file = files.child(folder, name);
    if (!file || file->is_folder()) return void(fuse_reply_err(request, file ? EISDIR : ENOENT));
    remove_name(request, folder, name, "unlink");
}

static void on_rmdir(fuse_req_t request, Id folder, const char *name) {
    File *file = files.child(folder, name);
    if (!file || !file->is_folder()) return void(fuse_reply_err(request, file ? ENOTDIR : ENOENT));
    if (!file->names.empty()) return void(fuse_reply_err(request, ENOTEMPTY));
    remove_name(request, folder, name, "rmdir");
}

static int why_not_renamed(const File *file, const File *over, unsigned flags) {
    if (!file) return ENOENT;
    if (flags & ~1u) return EINVAL;  // all but RENAME_NOREPLACE
    if (!over) return 0;
    if (flags) return EEXIST;
    if (over->is_folder() && !file->is_folder()) return EISDIR;
    if (!over->is_folder() && file->is_folder()) return ENOTDIR;
    return over->names.empty() ? 0 : ENOTEMPTY;
}

static void on_rename(fuse_req_t request, Id from, const char *name, Id to, const char *new_name,
                      unsigned flags) {
    File *file = files.child(from, name), *over = files.child(to, new_name);
    int refused = why_not_renamed(file, over, flags);
    if (refused || file == over) return void(fuse_reply_err(request, refused));
    files.operations++;
    files.change({Binding{to, new_name, file->id}, Binding{from, name, NOTHING}});
    fuse_reply_err(request, 0);
    done("rename", [=] {
        return path_of(from) + "/" + name + " -> " + path_of(to) + "/" + new_name;
    });
}

static void on_link(fuse_req_t request, Id id, Id folder, const char *name) {
    if (files.child(folder, name)) return void(fuse_reply_err(request, EEXIST));
    files.operations++;
    files.change({Binding{folder, name, id}});
    reply_entry(request, files.find(id));
    done("link", named(folder, name));
}

static void on_open(fuse_req_t request, Id id, fuse_file_info *opened) {
    File *file = files.find(id);
    if (!file) return void(fuse_reply_err(request, ENOENT));
    if (opened->flags & O_TRUNC) empty(file);
    opened->keep_cache = 1;
    fuse_reply_open(request, opened);
}

static void on_read(fuse_req_t request, Id id, size_t size, off_t at, fuse_file_info *) {
    const std::string &bytes = files.find(id)->bytes;
    if (size_t(at) >= bytes.size()) return void(fuse_reply_buf(request, nullptr, 0));
    fuse_reply_buf(request, bytes.data() + at, std::min(size, bytes.size() - size_t(at)));
}

static void on_write(fuse_req_t request, Id id, const char *data, size_t size, off_t at,
                     fuse_file_info *opened) {
    File *file = files.find(id);
    files.operations++;
    files.touch(file);
    bool appends = !opened->writepage && (opened->flags & O_APPEND);
    files.write(file, data, size, appends ? file->bytes.size() : size_t(at));
    fuse_reply_write(request, size);
    done("write", file_of(id));
}

static void on_fallocate(fuse_req_t request, Id id, int mode, off_t at, off_t size,
                         fuse_file_info *) {
    if (mode) return void(fuse_reply_err(request, EOPNOTSUPP));
    File *file = files.find(id);
    files.operations++;
    files.touch(file);
    if (file->bytes.size() < size_t(at + size)) files.resize(file, at + size);
    fuse_reply_err(request, 0);
}

static void on_fsync(fuse_req_t request, Id id, int, fuse_file_info *) {
    files.operations++;
    if (File *file = files.find(id)) files.sync(file);
    fuse_reply_err(request, 0);
    done("fsync", file_of(id));
}

static void on_close(fuse_req_t request, Id, fuse_file_info *) { fuse_reply_err(request, 0); }

using Listing = std::vector<std::pair<std::string, Id>>;

static void on_opendir(fuse_req_t request, Id id, fuse_file_info *opened) {
    if (!files.find(id)) return void(fuse_reply_err(request, ENOENT));
    opened->fh = reinterpret_cast<uint64_t>(new Listing);
    fuse_reply_open(request, opened);
}

static void on_readdir(fuse_req_t request, Id id, size_t size, off_t at, fuse_file_info *opened) {
    auto &listing = *reinterpret_cast<Listing *>(opened->fh);
    File *folder = files.find(id);
    if (at == 0) {
        listing = {{".", id}, {"..", folder->parent}};
        listing.insert(listing.end(), folder->names.begin(), folder->names.end());
    }
    std::vector<char> buffer(size);
    size_t used = 0;
    for (size_t next = at; next < listing.size(); next++) {
        File *file = files.find(listing[next].second);
        if (!file) continue;
        struct stat status = status_of(file);
        size_t needed = fuse_add_direntry(request, &buffer[used], size - used,
                                          listing[next].first.c_str(), &status, next + 1);
        if (needed > size - used) break;
        used += needed;
    }
    fuse_reply_buf(request, buffer.data(), used);
}

static void on_releasedir(fuse_req_t request, Id, fuse_file_info *opened) {
    delete reinterpret_cast<Listing *>(opened->fh);
    fuse_reply_err(request, 0);
}

static void on_statfs(fuse_req_t request, Id) {
    struct statvfs status{};
    status.f_bsize = status.f_frsize = disk::BLOCK;
    status.f_blocks = 50u << 18;  // 50 GiB
    status.f_bfree = status.f_bavail = 45u << 18;
    status.f_files = 1 << 24;
    status.f_ffree = status.f_favail = 1 << 23;
    status.f_namemax = 255;
    fuse_reply_statfs(request, &status);
}

static fuse_lowlevel_ops operations() {
    fuse_lowlevel_ops on{};
    on.init = on_init, on.lookup = on_lookup, on.forget = on_forget, on.getattr = on_getattr;
    on.setattr = on_setattr, on.readlink = on_readlink, on.mknod = on_mknod, on.mkdir = on_mkdir;
    on.symlink = on_symlink, on.create = on_create, on.unlink = on_unlink, on.rmdir = on_rmdir;
    on.rename = on_rename, on.link = on_link, on.open = on_open, on.read = on_read;
    on.write = on_write, on.fallocate = on_fallocate, on.fsync = on.fsyncdir = on_fsync;
    on.flush = on.release = on_close, on.opendir = on_opendir, on.readdir = on_readdir;
    on.releasedir = on_releasedir, on.statfs = on_statfs;
    return on;
}
